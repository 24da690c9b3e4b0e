//! Hooks and pins.

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;

use anyhow::{Result, ensure};
use lb_common::TABLES_VERSION;
use lb_testbed::{Agent, AgentProcess, Cgroup, Sandbox, connect, sandboxed};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::{nothing_was_restored, repairs, start, while_stopped};
use crate::churn::Client;
use crate::foreign::{self, Verdict};
use crate::support::{
    Servers, Web, active, answers, cluster_ip, eventually, failure, status, write_service,
};

fn pin(web: &Web, name: &str) -> PathBuf {
    let room = match name.starts_with("link_") {
        true => "links".to_owned(),
        false => format!("tables-v{TABLES_VERSION}"),
    };
    web.agent.pin_dir().join(room).join(name)
}

/// The program that is attached to a hook, according to the agent.
fn wait_for_hooks(web: &Web, number: u64) -> Result<()> {
    eventually("the hooks are in place", || {
        Ok(repairs(web, "hooks")? == number)
    })?;
    answers(&web.client, Web::ADDRESS, 10)?;
    let stream = web.client.enter(|| connect(Web::ADDRESS))??;
    assert_eq!(stream.peer_addr()?, Web::ADDRESS);
    assert_eq!(active(&web.agent)?, 1);
    drop(stream);
    assert_eq!(active(&web.agent)?, 0);
    Ok(())
}

fn wait_for_restored(agent: &mut AgentProcess, hook: &str, cause: &str) -> Result<()> {
    agent
        .wait_for_event_with("hooks.restored", |restored| {
            restored["hook"] == hook && restored["cause"] == cause
        })
        .map(drop)
}

#[test]
fn detached_hooks_are_attached_again() {
    sandboxed(|sandbox| {
        let mut web = start(sandbox, 2, 2)?;
        while_stopped(&web.running, || {
            foreign::detach_pinned(&pin(&web, "link_connect4"))?;
            failure(&web.client, Web::ADDRESS)?;
            foreign::detach_pinned(&pin(&web, "link_getpeername4"))?;
            foreign::detach_pinned(&pin(&web, "link_sock_release"))
        })?;
        wait_for_hooks(&web, 3)?;
        // In the order in which they can be restored without a gap.
        wait_for_restored(&mut web.running, "connect4", "detached")?;
        let log = web.running.log();
        let restored: Vec<&str> = log
            .events("hooks.restored")
            .map(|hook| hook.text("hook"))
            .collect();
        assert_eq!(restored, ["getpeername4", "sock_release", "connect4"]);
        // The pinned links are the attached ones, so the next agent finds them.
        web.running.terminate()?;
        answers(&web.client, Web::ADDRESS, 5)?;
        web.running = web.agent.start()?;
        let log = web.running.log();
        ensure!(
            log.has("hooks.replaced") && !log.has("hooks.attached"),
            "{log}"
        );
        nothing_was_restored(&web)
    });
}

#[test]
fn a_foreign_program_in_a_link_is_replaced() {
    sandboxed(|sandbox| {
        let mut web = start(sandbox, 1, 1)?;
        while_stopped(&web.running, || {
            foreign::take_over(&pin(&web, "link_connect4"), &Verdict::Refuse)?;
            let refused = failure(&web.client, Web::ADDRESS)?;
            assert_eq!(refused.raw_os_error(), Some(libc::EPERM));
            Ok(())
        })?;
        wait_for_hooks(&web, 1)?;
        wait_for_restored(&mut web.running, "connect4", "another program in its link")
    });
}

#[test]
fn removed_pins_are_restored_without_a_gap() {
    sandboxed(|sandbox| {
        let mut web = start(sandbox, 2, 2)?;
        let client = Client::start(&web.client, Web::ADDRESS, Result::is_ok);
        let gone = ["link_connect4", "link_sock_release", "FRONTENDS", "STATS"];
        for name in gone {
            fs::remove_file(pin(&web, name))?;
        }
        for name in gone {
            eventually(name, || Ok(pin(&web, name).exists()))?;
        }
        eventually("it is counted", || {
            Ok((repairs(&web, "hooks")?, repairs(&web, "pins")?) == (2, 2))
        })?;
        web.running.kill()?;
        web.running = web.agent.start()?;
        ensure!(web.running.log().has("tables.recovered"));
        client.finish()?;
        Ok(())
    });
}

#[test]
fn a_removed_pin_folder_is_restored_and_locked() {
    sandboxed(|sandbox| {
        let mut web = start(sandbox, 2, 2)?;
        let client = Client::start(&web.client, Web::ADDRESS, Result::is_ok);
        let held = web.client.enter(|| connect(Web::ADDRESS))??;
        // The agent may be restoring pins while they are removed.
        eventually("the folder is removed", || {
            Ok(fs::remove_dir_all(web.agent.pin_dir()).is_ok())
        })?;
        eventually("everything is pinned again", || {
            // Nine hooks, sixteen maps and the folder.
            Ok(repairs(&web, "hooks")? >= 9 && repairs(&web, "pins")? >= 17)
        })?;
        let folder = File::open(web.agent.pin_dir())?;
        let lock = Flock::lock(folder, FlockArg::LockExclusiveNonblock);
        ensure!(matches!(lock, Err((_, Errno::EWOULDBLOCK))), "{lock:?}");
        web.running.kill()?;
        web.running = web.agent.start()?;
        ensure!(web.running.log().has("tables.recovered"));
        client.finish()?;
        assert_eq!(held.peer_addr()?, Web::ADDRESS);
        eventually("its count is kept", || Ok(active(&web.agent)? == 1))?;
        drop(held);
        assert_eq!(active(&web.agent)?, 0);
        Ok(())
    });
}

/// A Service, and an agent on the sandbox's cgroup `served`.
fn on_own_cgroup(sandbox: &Sandbox) -> Result<(Web, Cgroup)> {
    let servers = Servers::start(sandbox, 1)?;
    let client = sandbox.pod("client")?;
    let manifests = sandbox.manifests()?;
    write_service(&manifests, "web", cluster_ip(10), &servers.ipv4())?;
    let served = Cgroup::at(sandbox.cgroup()).child("served")?;
    let binary = env!("CARGO_BIN_EXE_lb-agent");
    let agent = Agent::on_cgroup(binary, sandbox, manifests.folder(), served.path());
    let running = agent.start()?;
    let web = Web {
        servers,
        client,
        manifests,
        agent,
        running,
    };
    Ok((web, served))
}

#[test]
fn hooks_are_attached_to_a_replaced_cgroup() {
    sandboxed(|sandbox| {
        let (mut web, served) = on_own_cgroup(sandbox)?;
        let home = Cgroup::at(sandbox.cgroup());
        served.join()?;
        answers(&web.client, Web::ADDRESS, 5)?;
        home.join()?;
        served.remove()?;
        let trouble = || -> Result<Vec<String>> { Ok(status(&web.agent)?.drift.trouble) };
        eventually("it is logged", || {
            let trouble = trouble()?.join("\n");
            let place = served.path().display().to_string();
            Ok(trouble.contains(&place)
                && trouble.contains(&io::Error::from(Errno::ENOENT).to_string()))
        })?;
        let served = home.child("served")?;
        served.join()?;
        wait_for_hooks(&web, 9)?;
        eventually("no problem is left", || Ok(trouble()?.is_empty()))?;
        web.running.wait_for_event("data_path.recovered")?;
        home.join()
    });
}
