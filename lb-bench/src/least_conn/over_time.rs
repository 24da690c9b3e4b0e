//! How times and shares change during a run in which the objects change: weights, slow start, spill-over.

use std::time::Duration;

use anyhow::{Result, ensure};
use lb_testbed::{
    Agent, Endpoint, Family, Manifests, Pod, Sandbox, ServiceManifest, SliceManifest,
};
use serde::Serialize;
use serde_json::{Value, json};

use super::load::{self, Answer, Load};
use super::servers::{Servers, Speed, address};
use crate::Options;
use crate::services::{self, BACKEND_PORT, PORT};
use crate::statistics::percentile;

/// A figure for each such part of the run.
const STEP: Duration = Duration::from_millis(500);
const LENGTH: Duration = Duration::from_secs(12);

/// The objects change at these times.
const CHANGES: [Duration; 2] = [Duration::from_secs(4), Duration::from_secs(8)];

fn rounds(is_quick: bool) -> u64 {
    if is_quick { 1 } else { 10 }
}

/// What changes, with the runs that are compared.
struct Scenario {
    name: &'static str,
    /// What the shares are of.
    share_of: &'static str,
    speeds: Vec<Speed>,
    /// Requests a second.
    rate: f64,
    /// Whether a server's answers are counted in the share.
    counts: fn(usize) -> bool,
    /// The runs, with their annotations of the Service.
    runs: Vec<(&'static str, Vec<(&'static str, &'static str)>)>,
    /// The slices before the first change, between the two, and after the second.
    slices: fn(phase: usize, service: &str) -> Vec<Value>,
}

/// The figures of one run.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Course {
    scenario: &'static str,
    run: &'static str,
    steps: Vec<Step>,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Step {
    /// From the beginning of the run to the beginning of the step.
    second: f64,
    p99_ms: f64,
    share_percent: f64,
}

pub(super) fn run(options: &Options, sandbox: &Sandbox) -> Result<Vec<Course>> {
    let client = sandbox.pod("clients")?;
    let manifests = sandbox.manifests()?;
    manifests.write("node.json", [node()])?;
    let agent = Agent::new(&options.agent, sandbox, manifests.folder());
    let _process = agent.start()?;
    let mut courses = Vec::new();
    // Each run has a Service of its own: one that the agent knows already has no new backends.
    let mut number = 0;
    for scenario in [weights(), slow_start(), spill_over()] {
        let first = courses.len();
        for (name, annotations) in &scenario.runs {
            let mut answers = Vec::new();
            for round in 0..rounds(options.quick) {
                eprintln!("bench: {}, {name}, round {}", scenario.name, round + 1);
                number += 1;
                let _servers = Servers::start(sandbox, &scenario.speeds)?;
                // The servers of earlier rounds had the same addresses on other links.
                client.namespace().ip("neigh flush all\n")?;
                let objects = |phase: usize| {
                    let service = format!("service-{number}");
                    let manifest = annotations.iter().fold(
                        ServiceManifest::new(&service)
                            .cluster_ip(*services::frontend(number).ip())
                            .port("main", PORT),
                        |manifest, (name, value)| manifest.annotation(name, value),
                    );
                    let slices = (scenario.slices)(phase, &service);
                    std::iter::once(manifest.to_json()).chain(slices)
                };
                let load = Load {
                    to: services::frontend(number).into(),
                    rate: scenario.rate,
                    length: LENGTH,
                    seed: round,
                };
                answers.extend(one(&client, &manifests, load, objects)?);
            }
            courses.push(Course {
                scenario: scenario.name,
                run: name,
                steps: steps(answers, scenario.counts),
            });
        }
        report(&scenario, &courses[first..]);
    }
    Ok(courses)
}

/// One round of a run.
fn one<T: Iterator<Item = Value>>(
    client: &Pod,
    manifests: &Manifests,
    load: Load,
    objects: impl Fn(usize) -> T + Sync,
) -> Result<Vec<Answer>> {
    let write = |phase| manifests.write("service.json", objects(phase));
    write(0)?;
    wait_for(client, load.to)?;
    let mut phase = 0;
    load::send(client, load, |now| {
        while CHANGES.get(phase).is_some_and(|at| *at <= now) {
            phase += 1;
            write(phase)?;
        }
        Ok(())
    })
}

/// Until the agent serves the new Service.
fn wait_for(client: &Pod, to: std::net::SocketAddr) -> Result<()> {
    for _ in 0..1_000 {
        if client.enter(|| lb_testbed::connect(to))?.is_ok() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    ensure!(false, "the agent does not serve {to}");
    Ok(())
}

fn steps(mut answers: Vec<Answer>, counts: fn(usize) -> bool) -> Vec<Step> {
    answers.sort_unstable_by_key(|of| of.came);
    let index = |of: &Answer| of.came.as_millis() / STEP.as_millis();
    let steps = answers.chunk_by(|a, b| index(a) == index(b));
    let rounded = |number: f64| (number * 10.0).round() / 10.0;
    steps
        .map(|answers| {
            let mut took: Vec<Duration> = answers.iter().map(|of| of.took).collect();
            took.sort_unstable();
            let counted = answers.iter().filter(|of| counts(of.server)).count();
            Step {
                second: index(&answers[0]) as f64 * STEP.as_secs_f64(),
                p99_ms: rounded(percentile(&took, 99).as_secs_f64() * 1_000.0),
                share_percent: rounded(counted as f64 / answers.len() as f64 * 100.0),
            }
        })
        .collect()
}

/// The lines are those of the files in docs/figures.
fn report(scenario: &Scenario, courses: &[Course]) {
    let names: Vec<&str> = courses.iter().map(|course| course.run).collect();
    type Number = fn(&Step) -> f64;
    let tables: [(String, Number); 2] = [
        ("p99 in ms".to_owned(), |step| step.p99_ms),
        (
            format!("% of the connections to {}", scenario.share_of),
            |step| step.share_percent,
        ),
    ];
    for (title, number) in tables {
        println!("\n{}, {title}:\nsecond,{}", scenario.name, names.join(","));
        let steps = courses.first().map_or(0, |course| course.steps.len());
        for step in 0..steps {
            let of = courses.iter().filter_map(|course| course.steps.get(step));
            let numbers: Vec<String> = of.map(|step| number(step).to_string()).collect();
            println!("{},{}", courses[0].steps[step].second, numbers.join(","));
        }
    }
}

fn node() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": "node-a", "labels": {"topology.kubernetes.io/zone": "west"}},
    })
}

fn slice(service: &str, name: &str) -> SliceManifest {
    SliceManifest::new(service, Family::IPv4)
        .named(&format!("{service}-{name}"))
        .port("main", BACKEND_PORT)
}

/// Two of six servers take four times as long. First they have the same weight as the others, then a quarter of it, then none.
fn weights() -> Scenario {
    let mut speeds = vec![Speed::of_millis(2); 4];
    speeds.extend([Speed::of_millis(8); 2]);
    Scenario {
        name: "weights",
        share_of: "two slow servers of six",
        speeds,
        rate: 600.0,
        counts: |server| server >= 4,
        runs: ["random", "least-conn"]
            .map(|algorithm| (algorithm, vec![("socklb.dev/algorithm", algorithm)]))
            .to_vec(),
        slices: |phase, service| {
            let slow = ["4", "1", "0"][phase];
            let of = |name, servers: std::ops::Range<usize>, weight| {
                slice(service, name)
                    .annotation("socklb.dev/weight", weight)
                    .addresses(servers.map(address))
                    .to_json()
            };
            vec![of("fast", 0..4, "4"), of("slow", 4..6, slow)]
        },
    }
}

/// A sixth server comes that is slow at first.
fn slow_start() -> Scenario {
    let warm = Speed::of_millis(5);
    let mut speeds = vec![warm; 5];
    speeds.push(warm.cold());
    Scenario {
        name: "slow start",
        share_of: "a new server beside five",
        speeds,
        rate: 600.0,
        counts: |server| server == 5,
        runs: vec![
            ("random", vec![]),
            ("random 4s", vec![("socklb.dev/slow-start", "4s")]),
            ("least-conn", vec![("socklb.dev/algorithm", "least-conn")]),
            (
                "least-conn 4s",
                vec![
                    ("socklb.dev/algorithm", "least-conn"),
                    ("socklb.dev/slow-start", "4s"),
                ],
            ),
        ],
        slices: |phase, service| {
            let number = if phase == 0 { 5 } else { 6 };
            let addresses = (0..number).map(address);
            vec![slice(service, "all").addresses(addresses).to_json()]
        },
    }
}

/// Two of a zone's four servers are not ready for a time.
fn spill_over() -> Scenario {
    Scenario {
        name: "spill-over",
        share_of: "another zone",
        speeds: vec![Speed::of_millis(5); 8],
        rate: 450.0,
        counts: |server| server >= 4,
        runs: vec![
            ("hints only", vec![]),
            ("spill-over 1.4", vec![("socklb.dev/spill-over", "1.4")]),
        ],
        slices: |phase, service| {
            let mut slice = slice(service, "all");
            for server in 0..8 {
                let zone = if server < 4 { "west" } else { "east" };
                let endpoint = Endpoint::new(address(server)).zone(zone);
                slice = slice.endpoint(match phase == 1 && (2..4).contains(&server) {
                    true => endpoint.not_ready(),
                    false => endpoint.field("hints", json!({"forZones": [{"name": zone}]})),
                });
            }
            vec![slice.to_json()]
        },
    }
}
