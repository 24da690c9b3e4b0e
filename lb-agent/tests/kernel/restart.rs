//! The data path outlives its agent.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Result, ensure};
use lb_testbed::sandboxed;

use crate::churn::Client;
use crate::support::{
    PORT, Servers, Web, active, agent, answers, backends, cluster_ip, eventually, failure, status,
    unload, wait_for_backends, write_service,
};

#[test]
fn no_connect_fails_while_the_agent_is_killed_twenty_times() {
    sandboxed(|sandbox| {
        let mut web = Web::start(sandbox, 6, 3)?;
        let all = web.servers.ipv4();

        let to = Web::ADDRESS;
        let clients = [(), ()].map(|()| Client::start(&web.client, to, Result::is_ok));
        for round in 0..20 {
            // Changes before, at and after the kill; some are made while no agent runs.
            for turn in 0..3 {
                let backends: Vec<IpAddr> = (0..3).map(|i| all[(round + turn + i) % 6]).collect();
                write_service(&web.manifests, "web", cluster_ip(10), &backends)?;
                std::thread::sleep(std::time::Duration::from_millis((round * 7 % 40) as u64));
                if turn == 1 {
                    web.running.kill()?;
                }
            }
            web.running = web.agent.start()?;
            ensure!(
                web.running.log().has("tables.recovered"),
                "{}",
                web.running.log()
            );
        }
        for client in clients {
            client.finish()?;
        }
        // Exact to the end: every socket is closed, and every count is 0.
        eventually("no socket is counted", || Ok(active(&web.agent)? == 0))?;
        eventually("nothing is quarantined", || {
            Ok(status(&web.agent)?.resting == 0)
        })?;
        Ok(())
    });
}

#[test]
fn the_data_path_outlives_sigterm_and_unload_removes_it() {
    sandboxed(|sandbox| {
        let mut web = Web::start(sandbox, 2, 2)?;
        ensure!(web.running.terminate()?.success());
        ensure!(web.running.log().has("agent.stopped"));
        ensure!(!web.agent.socket().exists(), "the socket was left behind");

        let to = Web::ADDRESS;
        assert_eq!(answers(&web.client, to, 50)?.len(), 2);
        ensure!(unload(&web.agent)?.contains("detached 9 hooks"));
        let error = failure(&web.client, to)?;
        assert_eq!(error.raw_os_error(), Some(libc::ENETUNREACH), "{error}");
        ensure!(unload(&web.agent)?.contains("nothing to remove"));
        Ok(())
    });
}

#[test]
fn changes_made_without_an_agent_take_effect_with_the_next() {
    sandboxed(|sandbox| {
        let servers = Servers::start(sandbox, 3)?;
        let client = sandbox.pod("client")?;
        let manifests = sandbox.manifests()?;
        let all = servers.ipv4();
        write_service(&manifests, "web", cluster_ip(10), &all[..2])?;
        write_service(&manifests, "gone", cluster_ip(11), &all[..1])?;
        let agent = agent(sandbox, &manifests);
        agent.start()?.kill()?;
        // A connection from the first agent's time keeps its peer and its count.
        let to = SocketAddr::from((cluster_ip(10), PORT));
        let stream = client.enter(|| lb_testbed::connect(to))??;

        write_service(&manifests, "web", cluster_ip(10), &all[2..])?;
        manifests.remove("gone.json")?;
        write_service(&manifests, "new", cluster_ip(12), &all[..1])?;
        let _running = agent.start()?;
        wait_for_backends(&agent, "web", &all[2..])?;
        assert_eq!(answers(&client, to, 5)?.len(), 1);
        answers(&client, (cluster_ip(12), PORT).into(), 1)?;
        let error = failure(&client, (cluster_ip(11), PORT).into())?;
        assert_eq!(error.raw_os_error(), Some(libc::ENETUNREACH), "{error}");

        assert_eq!(stream.peer_addr()?, to);
        let resting = status(&agent)?.resting;
        ensure!(resting > 0, "its backend's id must not be used again yet");
        drop(stream);
        eventually("its backend's id is free", || {
            Ok(status(&agent)?.resting == 0)
        })?;
        Ok(())
    });
}

#[test]
fn an_invalid_manifest_removes_nothing_at_a_restart() {
    sandboxed(|sandbox| {
        let mut web = Web::start(sandbox, 2, 2)?;
        write_service(&web.manifests, "gone", cluster_ip(11), &web.servers.ipv4())?;
        wait_for_backends(&web.agent, "gone", &web.servers.ipv4())?;
        web.running.kill()?;
        web.manifests.remove("gone.json")?;
        web.manifests.write_text("web.json", "{\"kind\": ")?;
        let mut running = web.agent.start()?;
        running.wait_for_event("tables.leftovers_kept")?;
        assert_eq!(answers(&web.client, Web::ADDRESS, 40)?.len(), 2);
        // The manifest is correct again: now its contents are known, and everything else is removed.
        write_service(&web.manifests, "web", cluster_ip(10), &web.servers.ipv4())?;
        eventually("the other Service is gone", || {
            Ok(status(&web.agent)?.frontends == 1)
        })?;
        assert_eq!(answers(&web.client, Web::ADDRESS, 40)?.len(), 2);
        Ok(())
    });
}

#[test]
fn counters_survive_a_restart() {
    sandboxed(|sandbox| {
        let mut web = Web::start(sandbox, 1, 1)?;
        let to = Web::ADDRESS;
        answers(&web.client, to, 3)?;
        web.running.kill()?;
        answers(&web.client, to, 4)?;
        let _running = web.agent.start()?;
        assert_eq!(backends(&web.agent)?[0].connections, 7);
        Ok(())
    });
}
