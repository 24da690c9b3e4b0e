//! kube-proxy's recorded connections as real packets: those of pods and of clients elsewhere (`tests/rule_cases/` compares the
//! policy with them, and explains the file).

mod file;
mod world;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_testbed::{Agent, AgentProcess, Manifests, Sandbox, sandboxed_within};
use serde_json::Value;

use self::file::{Case, File, Flow, LeftOut};
use self::world::World;

const VARIABLE: &str = "SOCKLB_RULE_CASES";

/// Starts an agent with a case's objects on its node.
fn start(
    sandbox: &Sandbox,
    world: &World<'_>,
    manifests: &Manifests,
    case: &Case,
) -> Result<AgentProcess> {
    // The testbed's agents are all on this node.
    let text = serde_json::to_string(&case.objects)?.replace(&case.node.name, "node-a");
    let objects: Vec<Value> = serde_json::from_str(&text)?;
    manifests.write("case.json", objects)?;
    let agent = Agent::on_cgroup(
        env!("CARGO_BIN_EXE_lb-agent"),
        sandbox,
        manifests.folder(),
        world.node.cgroup(),
    );
    case.flags().iter().fold(agent, Agent::arg).start()
}

#[test]
fn kube_proxys_recorded_connections_end_as_recorded() {
    sandboxed_within(Duration::from_secs(600), |sandbox| {
        let Some(path) = std::env::var_os(VARIABLE) else {
            println!(
                "kube-proxy's own cases were NOT run: {VARIABLE} does not name a file of them"
            );
            return Ok(());
        };
        let mut file: File = serde_json::from_str(&std::fs::read_to_string(path)?)?;
        file.cases.retain(|case| !case.flows.is_empty());
        let world = World::new(sandbox, &file.cases)?;
        let manifests = sandbox.manifests()?;
        let mut left_out: BTreeMap<LeftOut, usize> = BTreeMap::new();
        let mut failures = Vec::new();
        let mut compared = 0;
        let mut before: Option<(&Case, AgentProcess)> = None;
        for case in &file.cases {
            let flows: Vec<&Flow> = case
                .flows
                .iter()
                .filter(|flow| match case.left_out(flow) {
                    Some(reason) => {
                        *left_out.entry(reason).or_default() += 1;
                        false
                    }
                    None => true,
                })
                .collect();
            if flows.is_empty() {
                continue;
            }
            let is_like_last = before.as_ref().is_some_and(|(last, _)| {
                last.objects == case.objects && last.flags() == case.flags()
            });
            if !is_like_last {
                if let Some((_, mut agent)) = before.take() {
                    agent.terminate()?;
                }
                let agent =
                    start(sandbox, &world, &manifests, case).with_context(|| case.id.clone())?;
                before = Some((case, agent));
            }
            for flow in flows {
                compared += 1;
                if let Err(error) = world.check(flow) {
                    failures.push(format!(
                        "{}: {}: {} from {} to {}:{}: {error:#}",
                        case.id, flow.name, flow.protocol, flow.source, flow.destination, flow.port
                    ));
                }
            }
        }
        println!("{compared} connections of kube-proxy's cases; left out: {left_out:?}");
        ensure!(
            failures.is_empty(),
            "{} of {compared} end otherwise:\n{}",
            failures.len(),
            failures.join("\n")
        );
        ensure!(compared > 0);
        Ok(())
    });
}
