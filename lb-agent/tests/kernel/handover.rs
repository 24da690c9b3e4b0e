//! Two agents on one pin folder, as in a rolling update.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, TcpStream};
use std::os::unix::net::UnixListener;
use std::thread;

use anyhow::{Context as _, Result, ensure};
use lb_testbed::{Agent, AgentProcess, sandboxed};
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

/// Fails unless these are in the log in this order.
fn assert_in_order(agent: &AgentProcess, parts: &[&str]) {
    let log = agent.log();
    let mut rest = log.as_str();
    for part in parts {
        let Some((_, after)) = rest.split_once(part) else {
            panic!("{part:?} is not in its place:\n{log}");
        };
        rest = after;
    }
}

/// When a line with this was logged.
fn logged_at(agent: &AgentProcess, part: &str) -> Result<String> {
    let log = agent.log();
    let line = log.lines().find(|line| line.contains(part));
    let time = line.and_then(|line| line.split_whitespace().next());
    Ok(time
        .with_context(|| format!("no {part:?} in {log}"))?
        .to_owned())
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
            // Before, while and after they hand over.
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
            last.wait_for_log("handed over; standing by")?;
            assert_in_order(
                &web.running,
                &[
                    "took over",
                    "programs replaced without a gap",
                    "took over the tables",
                    "metrics and probes on",
                    " ready after ",
                ],
            );
            assert_in_order(&last, &[" ready after ", "handing over", "handed over"]);
            let asked = logged_at(&last, "handing over")?;
            ensure!(asked < logged_at(&web.running, "took over")?);
            ensure!(last.ended()?.is_none(), "it does not stand by");
            // What stands by answers nobody; it is told to end, and does at once.
            assert_ne!(status(&web.agent)?.hooks[0].program_id, program);
            ensure!(last.terminate()?.success());
            assert_in_order(&last, &["handed over", "SIGTERM: ending"]);
            ensure!(
                web.agent.socket().exists(),
                "it took the other's socket away"
            );
        }
        for client in clients {
            client.finish()?;
        }
        eventually("no socket counts any more", || Ok(active(&web.agent)? == 0))?;
        eventually("nothing rests", || Ok(status(&web.agent)?.resting == 0))?;
        Ok(())
    });
}

#[test]
fn an_agent_that_handed_over_takes_up_again_when_the_other_is_killed() {
    sandboxed(|sandbox| {
        let mut web = Web::start(sandbox, 4, 2)?;
        web.running.terminate()?;
        let agent = with_http(&web.agent);
        let mut first = agent.clone().arg("--step-aside-after").arg("1h").start()?;
        let all = web.servers.ipv4();
        let client = Client::start(&web.client, Web::ADDRESS, Result::is_ok);
        for round in 0..2 {
            let mut second = agent.start()?;
            first.wait_for_log("handed over; standing by")?;
            // Only the one that has the folder writes: its flags hold.
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

            // Seen by nobody but the next to list.
            signal(&second, Signal::SIGSTOP)?;
            web.manifests.remove("other.json")?;
            second.kill()?;
            eventually("the first one is back", || {
                Ok(first.log().matches(" ready after ").count() == round + 2)
            })?;
            assert_eq!(status(&web.agent)?.services, 1);
            ensure!(step_aside_at(&web.agent)? > 0, "its flags hold again");
            TcpStream::connect(HTTP)?;
            write_service(&web.manifests, "web", cluster_ip(10), &all[round + 1..])?;
            wait_for_backends(&web.agent, "web", &all[round + 1..])?;
        }
        client.finish()?;
        ensure!(!first.log().contains("hands over"), "{}", first.log());
        ensure!(first.terminate()?.success());
        Ok(())
    });
}

#[test]
fn of_several_that_stand_by_one_takes_up() {
    sandboxed(|sandbox| {
        let mut web = Web::start(sandbox, 2, 1)?;
        let all = web.servers.ipv4();
        let mut standing_by = Vec::new();
        for _ in 0..3 {
            let next = web.agent.start()?;
            let mut last = std::mem::replace(&mut web.running, next);
            last.wait_for_log("handed over; standing by")?;
            standing_by.push(last);
        }
        while !standing_by.is_empty() {
            web.running.kill()?;
            let is_back = |agent: &AgentProcess| agent.log().matches(" ready after ").count() == 2;
            let mut next = None;
            eventually("one of them is back", || {
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
fn an_agent_that_does_not_answer_is_waited_for() {
    sandboxed(|sandbox| {
        let mut web = Web::start(sandbox, 2, 1)?;
        let all = web.servers.ipv4();
        let agent = with_http(&web.agent);
        signal(&web.running, Signal::SIGSTOP)?;
        let mut gives_up = agent.spawn()?;
        let process = format!("(process {})", web.running.id());
        gives_up.wait_for_log(&process)?;
        gives_up.wait_for_log("no answer on")?;
        ensure!(
            TcpStream::connect(HTTP).is_err(),
            "it listens before it has the lock"
        );
        let log = gives_up.log();
        ensure!(
            !log.contains("replaced") && !log.contains("took over"),
            "{log}"
        );
        ensure!(gives_up.terminate()?.success());
        assert_in_order(&gives_up, &["does not hand over", "SIGTERM: ending"]);

        let mut waits = agent.spawn()?;
        waits.wait_for_log("no answer on")?;
        write_service(&web.manifests, "web", cluster_ip(10), &all)?;
        signal(&web.running, Signal::SIGCONT)?;
        waits.wait_ready()?;
        wait_for_backends(&web.agent, "web", &all)?;
        web.running.wait_for_log("handed over; standing by")?;
        ensure!(web.running.terminate()?.success());
        Ok(())
    });
}

#[test]
fn an_agent_with_another_socket_is_waited_for() {
    sandboxed(|sandbox| {
        let mut web = Web::start(sandbox, 1, 1)?;
        let beside = web.agent.clone().beside("other");
        let mut other = beside.start()?;
        // Its socket is the other one's, its pins are those of the first.
        let agent = web.agent.clone().arg("--http").arg(HTTP.to_string());
        let mut nobody = agent
            .on_socket(&sandbox.dir().join("nobody.sock"))
            .spawn()?;
        nobody.wait_for_log("nobody listens on")?;
        let mut waits = agent.on_socket(beside.socket()).spawn()?;
        waits.wait_for_log("another --pin-dir")?;
        ensure!(other.ended()?.is_none() && !other.log().contains("handing over"));
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
fn an_agent_that_is_too_old_to_be_asked_is_waited_for() {
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
        waits.wait_for_log("is too old to be asked")?;
        old.join().expect("it answers")?;
        // Its socket stays behind, as that of a killed one does.
        drop(lock);
        waits.wait_ready()?;
        assert_eq!(status(&web.agent)?.services, 1);
        Ok(())
    });
}
