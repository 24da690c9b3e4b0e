//! Two agents on one pin folder, as in a rolling update.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, TcpStream};
use std::os::unix::net::UnixListener;
use std::thread;

use anyhow::{Context as _, Result, ensure};
use lb_testbed::{Agent, AgentProcess, Event, sandboxed};
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::aside::step_aside_at;
use crate::churn::Client;
use crate::support::{
    HTTP, Web, active, cluster_ip, eventually, status, wait_for_backends, write_service,
};

/// Both agents of a test are in one network namespace.
fn with_http(agent: &Agent) -> Agent {
    agent.clone().arg("--http").arg(HTTP.to_string())
}

/// Fails unless the log contains these events in this order.
fn assert_in_order(agent: &AgentProcess, names: &[&str]) {
    let log = agent.log();
    let mut events = log.all();
    for name in names {
        assert!(
            events.any(|event| event.name() == *name),
            "{name} is not in its place:\n{log}"
        );
    }
}

/// The time of an event's first occurrence.
fn logged_at(agent: &AgentProcess, name: &str) -> Result<String> {
    let log = agent.log();
    let event = log.events(name).next();
    let event = event.with_context(|| format!("no {name} in {log}"))?;
    Ok(event.time().to_owned())
}

/// Waits until an agent is refused the pin folder for this reason.
fn wait_for_refusal(agent: &mut AgentProcess, reason: &str) -> Result<Event> {
    agent.wait_for_event_with("hand_over.refused", |refused| refused["reason"] == reason)
}

fn signal(agent: &AgentProcess, signal: Signal) -> Result<()> {
    kill(Pid::from_raw(i32::try_from(agent.id())?), signal)?;
    Ok(())
}

#[test]
fn no_connect_fails_while_agents_hand_over_to_each_other() {
    sandboxed(|sandbox| {
        let mut web = Web::start(sandbox, 6, 3)?;
        web.running.terminate()?;
        let agent = with_http(&web.agent);
        web.running = agent.start()?;
        let all = web.servers.ipv4();
        let to = Web::ADDRESS;
        let clients = [(), ()].map(|()| Client::start(&web.client, to, Result::is_ok));
        for round in 0..6 {
            let backends: Vec<IpAddr> = (0..3).map(|i| all[(round + i) % 6]).collect();
            // Before, during and after the handover.
            if round % 3 == 0 {
                write_service(&web.manifests, "web", cluster_ip(10), &backends)?;
            }
            let program = status(&web.agent)?.hooks[0].program_id;
            let mut next = agent.spawn()?;
            if round % 3 == 1 {
                write_service(&web.manifests, "web", cluster_ip(10), &backends)?;
            }
            next.wait_ready()?;
            if round % 3 == 2 {
                write_service(&web.manifests, "web", cluster_ip(10), &backends)?;
            }
            wait_for_backends(&web.agent, "web", &backends)?;

            let mut last = std::mem::replace(&mut web.running, next);
            last.wait_for_event("agent.stands_by")?;
            assert_in_order(
                &web.running,
                &[
                    "agent.took_over",
                    "hooks.replaced",
                    "tables.recovered",
                    "serve.http_started",
                    "agent.ready",
                ],
            );
            assert_in_order(
                &last,
                &["agent.ready", "hand_over.asked", "agent.stands_by"],
            );
            let asked = logged_at(&last, "hand_over.asked")?;
            ensure!(asked < logged_at(&web.running, "agent.took_over")?);
            ensure!(last.ended()?.is_none(), "it is not in standby");
            // An agent in standby answers nothing; it exits at once when it is told to.
            assert_ne!(status(&web.agent)?.hooks[0].program_id, program);
            ensure!(last.terminate()?.success());
            assert_in_order(&last, &["agent.stands_by", "agent.stopped_waiting"]);
            ensure!(
                web.agent.socket().exists(),
                "it took the other's socket away"
            );
        }
        for client in clients {
            client.finish()?;
        }
        eventually("no socket is counted", || Ok(active(&web.agent)? == 0))?;
        eventually("nothing is quarantined", || {
            Ok(status(&web.agent)?.resting == 0)
        })?;
        Ok(())
    });
}

#[test]
fn an_agent_that_handed_over_resumes_when_its_successor_is_killed() {
    sandboxed(|sandbox| {
        let mut web = Web::start(sandbox, 4, 2)?;
        web.running.terminate()?;
        let agent = with_http(&web.agent);
        let mut first = agent.clone().arg("--step-aside-after").arg("1h").start()?;
        let all = web.servers.ipv4();
        let client = Client::start(&web.client, Web::ADDRESS, Result::is_ok);
        for round in 0..2 {
            let mut second = agent.start()?;
            first.wait_for_event("agent.stands_by")?;
            // Only the agent that holds the folder writes: its flags apply.
            assert_eq!(step_aside_at(&web.agent)?, 0);
            write_service(
                &web.manifests,
                "web",
                cluster_ip(10),
                &all[round..round + 2],
            )?;
            wait_for_backends(&web.agent, "web", &all[round..round + 2])?;
            write_service(&web.manifests, "other", cluster_ip(11), &all[..1])?;
            wait_for_backends(&web.agent, "other", &all[..1])?;
            assert_eq!(step_aside_at(&web.agent)?, 0);

            // Only the next list finds it.
            signal(&second, Signal::SIGSTOP)?;
            web.manifests.remove("other.json")?;
            second.kill()?;
            eventually("the first agent is back", || {
                Ok(first.log().times_ready() == round + 2)
            })?;
            assert_eq!(status(&web.agent)?.services, 1);
            ensure!(step_aside_at(&web.agent)? > 0, "its flags hold again");
            TcpStream::connect(HTTP)?;
            write_service(&web.manifests, "web", cluster_ip(10), &all[round + 1..])?;
            wait_for_backends(&web.agent, "web", &all[round + 1..])?;
        }
        client.finish()?;
        ensure!(!first.log().has("hand_over.promised"), "{}", first.log());
        ensure!(first.terminate()?.success());
        Ok(())
    });
}

#[test]
fn one_of_several_standby_agents_takes_over() {
    sandboxed(|sandbox| {
        let mut web = Web::start(sandbox, 2, 1)?;
        let all = web.servers.ipv4();
        let mut standing_by = Vec::new();
        for _ in 0..3 {
            let next = web.agent.start()?;
            let mut last = std::mem::replace(&mut web.running, next);
            last.wait_for_event("agent.stands_by")?;
            standing_by.push(last);
        }
        while !standing_by.is_empty() {
            web.running.kill()?;
            let is_back = |agent: &AgentProcess| agent.log().times_ready() == 2;
            let mut next = None;
            eventually("one agent is back", || {
                next = standing_by.iter().position(is_back);
                Ok(next.is_some())
            })?;
            web.running = standing_by.swap_remove(next.context("one is back")?);
            write_service(&web.manifests, "web", cluster_ip(10), &all)?;
            wait_for_backends(&web.agent, "web", &all)?;
            ensure!(!standing_by.iter().any(is_back), "there are two");
        }
        ensure!(web.running.terminate()?.success());
        Ok(())
    });
}

#[test]
fn a_new_agent_waits_for_an_unresponsive_one() {
    sandboxed(|sandbox| {
        let mut web = Web::start(sandbox, 2, 1)?;
        let all = web.servers.ipv4();
        let agent = with_http(&web.agent);
        signal(&web.running, Signal::SIGSTOP)?;
        let mut gives_up = agent.spawn()?;
        let refused = wait_for_refusal(&mut gives_up, "no_answer")?;
        assert_eq!(refused["holder"], web.running.id());
        ensure!(
            TcpStream::connect(HTTP).is_err(),
            "it listens before it has the lock"
        );
        let log = gives_up.log();
        ensure!(
            !log.has("hooks.replaced") && !log.has("agent.took_over"),
            "{log}"
        );
        ensure!(gives_up.terminate()?.success());
        assert_in_order(&gives_up, &["hand_over.refused", "agent.stopped_waiting"]);

        let mut waits = agent.spawn()?;
        wait_for_refusal(&mut waits, "no_answer")?;
        write_service(&web.manifests, "web", cluster_ip(10), &all)?;
        signal(&web.running, Signal::SIGCONT)?;
        waits.wait_ready()?;
        wait_for_backends(&web.agent, "web", &all)?;
        web.running.wait_for_event("agent.stands_by")?;
        ensure!(web.running.terminate()?.success());
        Ok(())
    });
}

#[test]
fn a_new_agent_waits_for_one_with_another_socket() {
    sandboxed(|sandbox| {
        let mut web = Web::start(sandbox, 1, 1)?;
        let beside = web.agent.clone().beside("other");
        let mut other = beside.start()?;
        // It uses the second agent's socket and the first one's pins.
        let agent = web.agent.clone().arg("--http").arg(HTTP.to_string());
        let mut nobody = agent
            .on_socket(&sandbox.dir().join("nobody.sock"))
            .spawn()?;
        wait_for_refusal(&mut nobody, "not_listening")?;
        let mut waits = agent.on_socket(beside.socket()).spawn()?;
        wait_for_refusal(&mut waits, "other_pin_dir")?;
        ensure!(other.ended()?.is_none() && !other.log().has("hand_over.asked"));
        ensure!(TcpStream::connect(HTTP).is_err());
        ensure!(nobody.terminate()?.success());
        other.terminate()?;

        ensure!(web.running.terminate()?.success());
        waits.wait_ready()?;
        TcpStream::connect(HTTP)?;
        Ok(())
    });
}

#[test]
fn a_new_agent_waits_for_one_too_old_to_hand_over() {
    sandboxed(|sandbox| {
        let mut web = Web::start(sandbox, 1, 1)?;
        web.running.terminate()?;
        let folder = std::fs::File::open(web.agent.pin_dir())?;
        let lock = Flock::lock(folder, FlockArg::LockExclusive).map_err(|(_, error)| error)?;
        let listener = UnixListener::bind(web.agent.socket())?;
        let old = thread::spawn(move || -> std::io::Result<()> {
            let (mut stream, _) = listener.accept()?;
            let read = stream.read(&mut [0; 4096])?;
            assert_ne!(read, 0);
            stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
        });
        let mut waits = web.agent.spawn()?;
        wait_for_refusal(&mut waits, "too_old")?;
        old.join().expect("it answers")?;
        // Its socket stays behind, as after a kill.
        drop(lock);
        waits.wait_ready()?;
        assert_eq!(status(&web.agent)?.services, 1);
        Ok(())
    });
}
