//! `bench control`: how long a real agent takes to apply a cluster, and then each change, from an API server over real HTTP;
//! the CPU time and memory for it; what a scrape of its metrics costs; and how soon agents recover after an outage of the server.
//!
//! The agent reports the time from the arrival of a change to the last store. CPU time and memory are the kernel's figures.

mod recovery;
mod report;
mod scrape;
mod shape;

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use fastrand::Rng;
use lb_testbed::api_server::ApiServer;
use lb_testbed::{Agent, Sandbox};
use serde::Serialize;

use self::recovery::RecoveryRow;
use self::report::ControlRow;
use self::scrape::ScrapeRow;
use self::shape::ClusterShape;
use crate::statistics::percentile;
use crate::status::ask;
use crate::{Options, usage};

fn shapes(is_quick: bool) -> &'static [ClusterShape] {
    const ALL: [ClusterShape; 6] = [
        ClusterShape::of(100, 1, 3),
        ClusterShape::of(10_000, 1, 3),
        ClusterShape::of(10_000, 1, 3).with_packets(),
        ClusterShape::of(1_000, 1, 3),
        ClusterShape::of(1_000, 1, 100),
        ClusterShape::of(1, 1_000, 100),
    ];
    if is_quick { &ALL[..3] } else { &ALL }
}

fn event_count(is_quick: bool) -> usize {
    if is_quick { 100 } else { 500 }
}

/// The number of Services with which metrics are scraped.
const SCRAPED: usize = 10_000;

/// Longest time for one event; the bench fails after it.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn run(options: &Options, sandbox: &Sandbox) -> Result<()> {
    let mut rows = Vec::new();
    let mut scrapes = Vec::new();
    println!("{}", report::head());
    for &shape in shapes(options.quick) {
        let (row, scrape) = measure(shape, options, sandbox)?;
        println!("{}", report::line(&row));
        rows.push(row);
        scrapes.extend(scrape);
    }
    let recovery = recovery::measure(options, sandbox)?;
    println!();
    for scrape in &scrapes {
        println!("{}", scrape::line(scrape));
    }
    let mut verdicts = report::verdicts(&rows);
    verdicts.extend(scrapes.iter().flat_map(scrape::verdicts));
    verdicts.extend(recovery::verdicts(&recovery));
    for verdict in verdicts {
        println!("{verdict}");
    }
    options.write_json(&Figures {
        clusters: rows,
        scrapes,
        recovery,
    })
}

/// All figures, as JSON.
#[derive(Debug, Serialize)]
struct Figures {
    clusters: Vec<ControlRow>,
    scrapes: Vec<ScrapeRow>,
    recovery: Vec<RecoveryRow>,
}

fn measure(
    shape: ClusterShape,
    options: &Options,
    sandbox: &Sandbox,
) -> Result<(ControlRow, Option<ScrapeRow>)> {
    eprintln!("bench: an API server with {} endpoints", shape.name());
    let server = ApiServer::start("127.0.0.1:0")?;
    shape.fill(&server)?;
    let kubeconfig = sandbox.dir().join("kubeconfig");
    server.write_kubeconfig(&kubeconfig)?;
    let mut agent = Agent::of_cluster(&options.agent, sandbox, &kubeconfig, "node-a");
    if shape.has_packets {
        agent = agent.arg("--packet-path=on");
    }
    let began = Instant::now();
    let mut running = agent.start()?;
    let ready = began.elapsed();
    let pid = running.id();
    let start_cpu = usage::cpu_seconds(pid)?;
    let first = ask(&agent)?;
    let mut took = events(shape, event_count(options.quick), &server, &agent)?;
    took.sort_unstable();
    let events_cpu = usage::cpu_seconds(pid)? - start_cpu;
    let [anonymous, kernel] = [
        usage::anonymous_memory(pid)?,
        usage::kernel_memory(agent.pin_dir())?,
    ];
    running.terminate()?;
    let check_cpu = checks(&agent)?;
    let is_scraped = shape.services == SCRAPED && !shape.has_packets;
    let scrape = is_scraped.then(|| scrape::measure(&agent, shape));
    let scrape = scrape.transpose()?;
    agent.unload()?;
    let row = ControlRow {
        shape: shape.name(),
        services: shape.services,
        has_packets: shape.has_packets,
        ready_ms: ready.as_secs_f64() * 1e3,
        start_cpu_ms: start_cpu * 1e3,
        sync_cpu_ms: first.syncs.first_cpu_micros as f64 / 1e3,
        tables_cpu_ms: first.syncs.first_tables_cpu_micros as f64 / 1e3,
        event_p50_us: percentile(&took, 50) as f64,
        event_p99_us: percentile(&took, 99) as f64,
        event_cpu_us: events_cpu * 1e6 / took.len() as f64,
        check_cpu_ms: check_cpu * 1e3,
        anonymous_mb: anonymous as f64 / 1e6,
        kernel_mb: kernel as f64 / 1e6,
    };
    Ok((row, scrape))
}

/// CPU time, in seconds, of an agent for one check of its tables, including everything else that it does meanwhile.
fn checks(agent: &Agent) -> Result<f64> {
    const CHECKS: u64 = 5;
    let agent = agent.clone().arg("--check-interval").arg("1s");
    let mut running = agent.start()?;
    let wait_for = |checks: u64| {
        let deadline = Instant::now() + PATIENCE;
        while ask(&agent)?.drift.checks < checks {
            if Instant::now() > deadline {
                bail!("the agent has not checked its tables {checks} times within {PATIENCE:?}");
            }
            thread::sleep(Duration::from_millis(50));
        }
        usage::cpu_seconds(running.id())
    };
    let before = wait_for(1)?;
    let after = wait_for(1 + CHECKS)?;
    running.terminate()?;
    Ok((after - before) / CHECKS as f64)
}

/// Endpoints of random Services become unready and ready again, one after the other. Returns the time that the agent reports for
/// each, in µs.
fn events(
    shape: ClusterShape,
    number: usize,
    server: &ApiServer,
    agent: &Agent,
) -> Result<Vec<u64>> {
    let mut rng = Rng::with_seed(1);
    let mut took = Vec::new();
    let mut count = ask(agent)?.syncs.count;
    let mut service = 0;
    for event in 0..number {
        let unready = (event % 2 == 0).then_some(0);
        if unready.is_some() {
            service = rng.usize(0..shape.services);
        }
        server.apply(&shape.slice(service, 0, unready)?.to_json())?;
        let deadline = Instant::now() + PATIENCE;
        let syncs = loop {
            // Not so often that the agent is busy answering.
            thread::sleep(Duration::from_millis(3));
            let syncs = ask(agent)?.syncs;
            if syncs.count > count {
                break syncs;
            }
            if Instant::now() > deadline {
                bail!("the agent has not applied a change within {PATIENCE:?}");
            }
        };
        count = syncs.count;
        took.push(syncs.last_micros);
    }
    Ok(took)
}
