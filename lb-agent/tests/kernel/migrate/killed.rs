//! An agent that is killed while it moves the hooks to new tables.

use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_testbed::{Agent, sandboxed};

use super::scene::{IN_ORDER, SIZES, Scene, Stage, lengths, next, of_sizes, pinned, refusal};
use crate::support::{agent, unload};

/// Ends an agent at a step of the migration, and observes while none runs.
fn end_at(scene: &mut Scene<'_>, agent: &Agent, step: &str) -> Result<()> {
    let mut killed = agent.clone().env("SOCKLB_END_AT", step).spawn()?;
    let how = killed.wait()?;
    let log = killed.log();
    let mut ends = log.events("test.crash_point");
    ensure!(ends.any(|end| end["step"] == step), "{how}: {log}");
    scene.hold(6)?;
    scene.check_held()
}

/// The steps at which an agent is killed: with all hooks on the old tables, on both, on the new ones.
const STEPS: [&str; 9] = [
    "filled",
    "getpeername4",
    "sock_release",
    "connect4",
    "sendmsg6",
    "moved",
    "settled",
    "removed",
    "renamed",
];

#[test]
fn a_resize_resumes_after_the_agent_is_killed_at_each_step() {
    sandboxed(|sandbox| {
        let stage = Stage::build(sandbox)?;
        let mut scene = stage.open()?;
        let clients = scene.clients();
        for (round, step) in STEPS.into_iter().enumerate() {
            let sizes = |number: usize| of_sizes(scene.agent, SIZES[(2 * round + number) % 3]);
            let (first, second) = (sizes(1), sizes(2));
            end_at(&mut scene, &first, step)?;
            let mut running = second.start()?;
            assert_eq!(pinned(&second)?, IN_ORDER);
            lengths(&second, "tables-v1")?;
            scene.check_held()?;
            running.kill()?;
        }
        let running = scene.agent.start()?;
        for client in clients {
            client.finish()?;
        }
        scene.end()?;
        drop(running);
        Ok(())
    });
}

#[test]
fn a_resize_resumes_after_the_agent_is_killed_at_random() {
    sandboxed(|sandbox| {
        let stage = Stage::build(sandbox)?;
        let mut scene = stage.open()?;
        let clients = scene.clients();
        for round in 0..40_u64 {
            let sizes = SIZES[usize::try_from(round)? % 3];
            let mut running = of_sizes(scene.agent, sizes).spawn()?;
            // An odd step, so that every part of the migration is covered.
            thread::sleep(Duration::from_millis(round * 37 % 400));
            running.kill()?;
            if round % 4 == 0 {
                scene.hold(2)?;
            }
            scene.check_held()?;
        }
        let running = scene.agent.start()?;
        for client in clients {
            client.finish()?;
        }
        scene.end()?;
        drop(running);
        Ok(())
    });
}

#[test]
fn a_layout_change_resumes_after_the_agent_is_killed() {
    sandboxed(|sandbox| {
        let stage = Stage::build(sandbox)?;
        for (round, step) in STEPS.into_iter().enumerate() {
            let mut scene = stage.open()?;
            let clients = scene.clients();
            let next = next(sandbox, &stage.manifests)?;
            if round % 2 == 0 {
                // Some hooks use other tables of this version when the next agent starts.
                let resized = of_sizes(scene.agent, SIZES[1]);
                end_at(&mut scene, &resized, "sock_release")?;
            }
            end_at(&mut scene, &next, step)?;
            if step != "filled" {
                ensure!(refusal(scene.agent)?.contains("version 2"));
            }
            let running = of_sizes(&next, SIZES[2]).start()?;
            assert_eq!(pinned(&next)?, ["links", "origins-v1", "tables-v2"]);
            lengths(&next, "tables-v2")?;
            for client in clients {
                client.finish()?;
            }
            scene.end().with_context(|| format!("ended at {step}"))?;
            drop(running);
            unload(&next)?;
        }
        Ok(())
    });
}

#[test]
fn unload_removes_an_unfinished_migration() {
    sandboxed(|sandbox| {
        let agent = agent(sandbox, &sandbox.manifests()?);
        of_sizes(&agent, SIZES[0]).start()?.kill()?;
        let mut killed = of_sizes(&agent, SIZES[1])
            .env("SOCKLB_END_AT", "connect4")
            .spawn()?;
        killed.wait()?;
        let begun = ["links", "origins-v1", "tables-v1", "tables-v1-next"];
        assert_eq!(pinned(&agent)?, begun);
        ensure!(unload(&agent)?.contains("detached 9 hooks"));
        ensure!(!agent.pin_dir().exists(), "something was left");
        Ok(())
    });
}
