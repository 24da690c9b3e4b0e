//! `bench least-conn`: how long requests take when some servers are slower than others, with each algorithm in turn, and how
//! that changes with weights, slow start and spill-over.
//!
//! Requests come at a rate at which an equal share nearly saturates the slow servers. A request's time is from its arrival to its
//! answer.

mod load;
mod over_time;
mod servers;

use std::time::Duration;

use anyhow::Result;
use lb_testbed::{Agent, Family, Sandbox, ServiceManifest, SliceManifest};
use serde::Serialize;

use self::load::Load;
use self::over_time::Course;
use self::servers::{Servers, Speed, address};
use crate::Options;
use crate::services::{self, BACKEND_PORT, PORT};
use crate::statistics::percentile;
use crate::verdict::verdict;

fn rounds(is_quick: bool) -> u64 {
    if is_quick { 4 } else { 15 }
}

/// Values of the annotation `socklb.dev/algorithm`. Without maglev, which sends one client to one backend.
const ALGORITHMS: [&str; 3] = ["random", "round-robin", "least-conn"];

const FAST: Speed = Speed::of_millis(2);
const SLOW: Speed = Speed::of_millis(8);
const SERVERS: [Speed; 6] = [FAST, FAST, FAST, FAST, SLOW, SLOW];

/// Requests a second. With a sixth of them a slow server is busy 80 % of the time.
const RATE: f64 = 600.0;

/// Length of a round.
const ROUND: Duration = Duration::from_secs(2);

/// The figures of one algorithm.
#[derive(Debug, Serialize)]
struct AlgorithmRow {
    algorithm: &'static str,
    requests: usize,
    p50_ms: f64,
    p99_ms: f64,
    /// Share of the answers that slow servers gave.
    slow_share: f64,
}

#[derive(Debug, Default)]
struct RequestSamples {
    took: Vec<Duration>,
    slow: usize,
}

/// All figures of the bench.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Figures {
    algorithms: Vec<AlgorithmRow>,
    over_time: Vec<Course>,
}

pub(crate) fn run(options: &Options, sandbox: &Sandbox) -> Result<()> {
    let algorithms = algorithms(options, sandbox)?;
    report(&algorithms);
    let over_time = over_time::run(options, sandbox)?;
    options.write_json(&Figures {
        algorithms,
        over_time,
    })
}

fn algorithms(options: &Options, sandbox: &Sandbox) -> Result<Vec<AlgorithmRow>> {
    let _servers = Servers::start(sandbox, &SERVERS)?;
    let client = sandbox.pod("client")?;
    let manifests = sandbox.manifests()?;
    manifests.write("services.json", objects())?;
    let agent = Agent::new(&options.agent, sandbox, manifests.folder());
    let _process = agent.start()?;
    let number = |of: Speed| SERVERS.iter().filter(|&&speed| speed == of).count();
    println!(
        "{} servers that take {:?} for an answer, {} that take {:?}; {RATE} requests a second",
        number(FAST),
        FAST.takes,
        number(SLOW),
        SLOW.takes,
    );
    let mut samples = ALGORITHMS.map(|_| RequestSamples::default());
    for round in 0..rounds(options.quick) {
        eprintln!("bench: round {} of {}", round + 1, rounds(options.quick));
        for (number, samples) in samples.iter_mut().enumerate() {
            let load = Load {
                to: services::frontend(number).into(),
                rate: RATE,
                length: ROUND,
                seed: round,
            };
            let answers = load::send(&client, load, |_| Ok(()))?;
            let slow = answers.iter().filter(|of| SERVERS[of.server] == SLOW);
            samples.slow += slow.count();
            samples.took.extend(answers.iter().map(|of| of.took));
        }
    }
    // The Services of the other runs have the same ClusterIPs, and would lose them to these.
    manifests.remove("services.json")?;
    let rows = ALGORITHMS.into_iter().zip(samples);
    Ok(rows
        .map(|(algorithm, samples)| row(algorithm, samples))
        .collect())
}

/// A Service for each algorithm, with the same servers.
fn objects() -> impl Iterator<Item = serde_json::Value> {
    ALGORITHMS
        .into_iter()
        .enumerate()
        .flat_map(|(number, algorithm)| {
            let service = ServiceManifest::new(algorithm)
                .cluster_ip(*services::frontend(number).ip())
                .port("main", PORT)
                .annotation("socklb.dev/algorithm", algorithm);
            let slice = SliceManifest::new(algorithm, Family::IPv4)
                .port("main", BACKEND_PORT)
                .addresses((0..SERVERS.len()).map(address));
            [service.to_json(), slice.to_json()]
        })
}

fn row(algorithm: &'static str, mut samples: RequestSamples) -> AlgorithmRow {
    samples.took.sort_unstable();
    let requests = samples.took.len();
    let at = |percent| {
        let time: Duration = percentile(&samples.took, percent);
        (time.as_secs_f64() * 10_000.0).round() / 10.0
    };
    AlgorithmRow {
        algorithm,
        requests,
        p50_ms: at(50),
        p99_ms: at(99),
        slow_share: (samples.slow as f64 / requests as f64 * 1000.0).round() / 1000.0,
    }
}

fn report(rows: &[AlgorithmRow]) {
    println!(
        "{:12} {:>9} {:>9} {:>9} {:>17}",
        "algorithm", "requests", "p50 ms", "p99 ms", "by slow servers"
    );
    for row in rows {
        println!(
            "{:12} {:>9} {:>9.1} {:>9.1} {:>15.0} %",
            row.algorithm,
            row.requests,
            row.p50_ms,
            row.p99_ms,
            row.slow_share * 100.0
        );
    }
    let of = |name: &str| rows.iter().find(|row| row.algorithm == name);
    if let (Some(random), Some(least_conn)) = (of("random"), of("least-conn")) {
        let ratio = least_conn.p99_ms / random.p99_ms;
        println!();
        println!(
            "{}",
            verdict(
                &format!("p99 with least-conn: {ratio:.2} of random's"),
                "below 1",
                ratio < 1.0
            )
        );
    }
}
