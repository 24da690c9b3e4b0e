//! The agent ends repeatedly while pods are replaced.

use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use lb_testbed::{AgentProcess, Sandbox, sandboxed};

use super::{BLUE, GREEN, Load, REQUESTS};

/// The agent ends with each change, before, during or after it.
fn agents_end(sandbox: &Sandbox, end: fn(&mut AgentProcess) -> Result<()>) -> Result<()> {
    let mut load = Load::start(sandbox)?;
    let mut changes: u64 = 0;
    let mut change = |load: &mut Load, ready: &[usize], ending: &[usize]| -> Result<()> {
        changes += 1;
        // Each kind of change is combined with each of these.
        match (changes + changes / 3) % 3 {
            0 => {
                end(&mut load.running)?;
                load.write(ready, ending)?;
            }
            1 => {
                load.write(ready, ending)?;
                thread::sleep(Duration::from_millis(changes));
                end(&mut load.running)?;
            }
            _ => {
                load.change(ready, ending)?;
                end(&mut load.running)?;
            }
        }
        // Requests are answered while no agent runs.
        load.progress()?;
        load.running = load.cluster.agent.start()?;
        load.settle(ready, ending)
    };
    load.roll_out(BLUE, GREEN, &mut change)?;
    load.finish(18 * REQUESTS)
}

#[test]
fn no_request_fails_while_the_agent_is_terminated_repeatedly() {
    sandboxed(|sandbox| {
        agents_end(sandbox, |agent| {
            let status = agent.terminate()?;
            ensure!(status.success(), "{status}");
            Ok(())
        })
    });
}

#[test]
fn no_request_fails_while_the_agent_is_killed_repeatedly() {
    sandboxed(|sandbox| agents_end(sandbox, AgentProcess::kill));
}

/// The next agent starts before the other ends, with each change, before, during or after it.
#[test]
fn no_request_fails_while_agents_hand_over_repeatedly() {
    sandboxed(|sandbox| {
        let mut load = Load::start(sandbox)?;
        let mut changes: u64 = 0;
        let mut change = |load: &mut Load, ready: &[usize], ending: &[usize]| -> Result<()> {
            changes += 1;
            if changes % 3 == 1 {
                load.write(ready, ending)?;
            }
            let mut next = load.cluster.agent.spawn()?;
            if changes % 3 == 2 {
                load.write(ready, ending)?;
            }
            next.wait_ready()?;
            if changes.is_multiple_of(3) {
                load.change(ready, ending)?;
            }
            let mut last = std::mem::replace(&mut load.running, next);
            last.wait_for_event("agent.stands_by")?;
            load.progress()?;
            let status = last.terminate()?;
            ensure!(status.success(), "{status}");
            load.settle(ready, ending)
        };
        load.roll_out(BLUE, GREEN, &mut change)?;
        load.finish(18 * REQUESTS)
    });
}
