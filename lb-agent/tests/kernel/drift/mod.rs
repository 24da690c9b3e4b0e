//! Another program writes to the tables or removes the hooks: the agent restores them, and counts the repairs.

mod hooks;
mod tables;

use anyhow::{Result, ensure};
use lb_testbed::{AgentProcess, Sandbox};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{Servers, Web, agent, cluster_ip, eventually, status, write_service};

/// As [`Web::start`], with an agent that checks the tables every second.
fn start(sandbox: &Sandbox, pods: usize, backends: usize) -> Result<Web> {
    let servers = Servers::start(sandbox, pods)?;
    let client = sandbox.pod("client")?;
    let manifests = sandbox.manifests()?;
    let addresses = servers.ipv4();
    write_service(&manifests, "web", cluster_ip(10), &addresses[..backends])?;
    let agent = agent(sandbox, &manifests).arg("--check-interval").arg("1s");
    let running = agent.start()?;
    Ok(Web {
        servers,
        client,
        manifests,
        agent,
        running,
    })
}

/// Does something while the agent is stopped.
fn while_stopped<T>(running: &AgentProcess, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let pid = Pid::from_raw(i32::try_from(running.id())?);
    kill(pid, Signal::SIGSTOP)?;
    let done = work();
    kill(pid, Signal::SIGCONT)?;
    done
}

/// The number of repairs of one kind so far.
fn repairs(web: &Web, what: &str) -> Result<u64> {
    let repairs = status(&web.agent)?.drift.repairs;
    Ok(repairs.get(what).copied().unwrap_or_default())
}

/// Waits until all tables have been checked this many more times.
fn wait_for_checks(web: &Web, number: u64) -> Result<()> {
    let before = status(&web.agent)?.drift.checks;
    eventually("the tables are read back", || {
        Ok(status(&web.agent)?.drift.checks >= before + number)
    })
}

/// Fails if anything was repaired.
fn nothing_was_restored(web: &Web) -> Result<()> {
    let drift = status(&web.agent)?.drift;
    ensure!(
        drift.repairs.values().all(|&number| number == 0),
        "{drift:?}"
    );
    ensure!(drift.trouble.is_empty(), "{drift:?}");
    Ok(())
}
