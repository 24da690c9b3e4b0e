//! The selection outlives its agent, and an agent with another one takes over without a gap.

use std::io;

use anyhow::{Result, ensure};
use lb_testbed::sandboxed;
use serde_json::json;

use super::scene::{Driver, KubePod, Scene, is_served};
use crate::churn::Client;
use crate::support::{Web, unload};

/// A connect that is not balanced has no route here.
fn has_passed(answer: &io::Result<String>) -> bool {
    let error = answer.as_ref().err();
    error.is_some_and(|error| error.raw_os_error() == Some(libc::ENETUNREACH))
}

#[test]
fn no_connect_passes_while_agents_with_any_selection_come_and_go() {
    sandboxed(|sandbox| {
        let scene = Scene::new(sandbox)?;
        let selected = KubePod::start(sandbox, "selected", 1, Driver::Systemd)?;
        let other = KubePod::start(sandbox, "other", 2, Driver::Cgroupfs)?;
        scene.write_pods([
            selected.object(json!({"app": "web"}), json!({})),
            other.object(json!({}), json!({"socklb.dev/sockets": "false"})),
        ])?;
        // Without a selection everybody is served.
        let mut running = scene.agent.start()?;
        ensure!(is_served(&other.pod)?);
        let client = Client::start(&selected.pod, Web::ADDRESS, Result::is_ok);
        let mut left_out = None;
        for round in 0..6 {
            let flag = match round {
                0 | 1 => "--pods=app=web",
                2 => "--pods=",
                3 => "--except-pods=!app",
                _ => "--pods=app",
            };
            match round % 2 {
                0 => running.kill()?,
                _ => drop(running.terminate()?),
            }
            running = scene.agent.clone().arg(flag).start()?;
            scene.wait_for(1, 1, 0)?;
            // From the first selection on it is left alone, whatever comes.
            left_out.get_or_insert_with(|| Client::start(&other.pod, Web::ADDRESS, has_passed));
        }
        client.finish()?;
        left_out.map(Client::finish).transpose()?;

        // Without a selection again.
        running.kill()?;
        running = scene.agent.start()?;
        ensure!(is_served(&selected.pod)? && is_served(&other.pod)?);
        running.terminate()?;
        ensure!(unload(&scene.agent)?.contains("detached 9 hooks"));
        ensure!(!is_served(&selected.pod)?);
        Ok(())
    });
}

/// Beside the old one, as with maxSurge.
#[test]
fn no_connect_passes_while_an_agent_hands_over_to_one_that_selects() {
    sandboxed(|sandbox| {
        let scene = Scene::new(sandbox)?;
        let pod = KubePod::start(sandbox, "selected", 1, Driver::Systemd)?;
        scene.write_pods([pod.object(json!({"app": "web"}), json!({}))])?;
        let _old = scene.agent.start()?;
        ensure!(is_served(&pod.pod)?);
        let client = Client::start(&pod.pod, Web::ADDRESS, Result::is_ok);
        let mut new = scene.agent.clone().arg("--pods=app=web").start()?;
        ensure!(new.log().has("agent.took_over"), "{}", new.log());
        scene.wait_for(1, 0, 0)?;
        client.finish()?;
        new.terminate()?;
        Ok(())
    });
}
