//! `bench least-conn`: how long requests take when some servers are slower than others, with each algorithm in turn.
//!
//! Requests arrive as a Poisson process, independent of the answers to earlier requests, at a rate at which an equal share nearly
//! saturates the slow servers. A request's time is from its arrival to its answer.

mod servers;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use fastrand::Rng;
use lb_testbed::{Agent, Family, Pod, Sandbox, ServiceManifest, SliceManifest};
use serde::Serialize;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::sleep_until;

use self::servers::{FAST, SLOW, Servers, TIMES, addresses};
use crate::Options;
use crate::services::{self, BACKEND_PORT, PORT};
use crate::statistics::percentile;
use crate::verdict::verdict;

fn rounds(is_quick: bool) -> u64 {
    if is_quick { 4 } else { 15 }
}

/// Values of the annotation `socklb.dev/algorithm`. Without maglev, which sends one client to one backend.
const ALGORITHMS: [&str; 3] = ["random", "round-robin", "least-conn"];

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
    slow: u64,
}

pub(crate) fn run(options: &Options, sandbox: &Sandbox) -> Result<()> {
    let servers = Servers::start(sandbox)?;
    let client = sandbox.pod("client")?;
    let manifests = sandbox.manifests()?;
    manifests.write("services.json", objects())?;
    let agent = Agent::new(&options.agent, sandbox, manifests.folder());
    let _process = agent.start()?;
    println!(
        "{} servers that take {FAST:?} for an answer, {} that take {SLOW:?}; {RATE} requests a second",
        TIMES.iter().filter(|&&time| time == FAST).count(),
        TIMES.iter().filter(|&&time| time == SLOW).count(),
    );
    let mut samples = ALGORITHMS.map(|_| RequestSamples::default());
    for round in 0..rounds(options.quick) {
        eprintln!("bench: round {} of {}", round + 1, rounds(options.quick));
        for (number, samples) in samples.iter_mut().enumerate() {
            let before = servers.slow_answers();
            let to = services::frontend(number).into();
            samples.took.extend(requests(&client, to, round)?);
            samples.slow += servers.slow_answers() - before;
        }
    }
    let rows: Vec<AlgorithmRow> = ALGORITHMS
        .into_iter()
        .zip(samples)
        .map(|(algorithm, samples)| row(algorithm, samples))
        .collect();
    report(&rows);
    options.write_json(&rows)
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
                .addresses(addresses());
            [service.to_json(), slice.to_json()]
        })
}

/// One round: the time of each request.
fn requests(client: &Pod, to: SocketAddr, seed: u64) -> Result<Vec<Duration>> {
    client.enter(|| {
        let runtime = lb_testbed::runtime()?;
        runtime.block_on(send_requests(to, seed))
    })?
}

async fn send_requests(to: SocketAddr, seed: u64) -> Result<Vec<Duration>> {
    let mut rng = Rng::with_seed(seed);
    let mut under_way = JoinSet::new();
    let start = Instant::now();
    let mut next = start;
    while next < start + ROUND {
        sleep_until(next.into()).await;
        let came = next;
        under_way.spawn(async move { ask(to).await.map(|()| came.elapsed()) });
        next += Duration::from_secs_f64(-(1.0 - rng.f64()).ln() / RATE);
    }
    let mut took = Vec::new();
    while let Some(one) = under_way.join_next().await {
        took.push(one??);
    }
    Ok(took)
}

async fn ask(to: SocketAddr) -> Result<()> {
    let mut stream = TcpStream::connect(to).await.context("cannot connect")?;
    stream
        .read_exact(&mut [0])
        .await
        .context("the server did not answer")?;
    Ok(())
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
