//! What a scrape of metrics for each Service costs, after each Service has counted a connection that failed.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use lb_testbed::Agent;
use serde::Serialize;

use super::shape::ClusterShape;
use crate::statistics::percentile;
use crate::usage;
use crate::verdict::verdict;

const HTTP: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 10_356);

/// Scrapes of each agent.
const SCRAPES: usize = 21;

/// From the last scrape until the memory is read.
const BETWEEN: Duration = Duration::from_secs(3);

/// Time limit of a connect to a backend that does not exist.
const CONNECT: Duration = Duration::from_millis(1);

/// The figures of an agent's scrapes.
#[derive(Clone, Debug, Serialize)]
pub(super) struct ScrapeRow {
    shape: String,
    /// From the request to the last byte.
    p50_ms: f64,
    p99_ms: f64,
    /// CPU time of the agent for each.
    cpu_ms: f64,
    answer_mb: f64,
    /// Between two scrapes.
    anonymous_mb: f64,
    /// The same with metrics that name no Service.
    anonymous_without_mb: f64,
}

/// Measures agents that start with the given one's tables.
pub(super) fn measure(agent: &Agent, shape: ClusterShape) -> Result<ScrapeRow> {
    let (without, _) = scrapes(agent, "none", None)?;
    let (with, mut took) = scrapes(agent, "service", Some(shape))?;
    took.sort_unstable();
    let of_micros = |percent| percentile(&took, percent) as f64 / 1e3;
    Ok(ScrapeRow {
        shape: shape.name(),
        p50_ms: of_micros(50),
        p99_ms: of_micros(99),
        cpu_ms: with.cpu_seconds * 1e3 / SCRAPES as f64,
        answer_mb: with.answer as f64 / 1e6,
        anonymous_mb: with.anonymous as f64 / 1e6,
        anonymous_without_mb: without.anonymous as f64 / 1e6,
    })
}

struct Cost {
    cpu_seconds: f64,
    answer: usize,
    anonymous: u64,
}

/// The cost of all scrapes, and the time of each in µs.
fn scrapes(agent: &Agent, per: &str, used: Option<ClusterShape>) -> Result<(Cost, Vec<u64>)> {
    let agent = agent
        .clone()
        .arg(format!("--http={HTTP}"))
        .arg(format!("--metrics-per={per}"));
    let mut running = agent.start()?;
    if let Some(shape) = used {
        for service in 0..shape.services {
            // Nothing answers.
            let _ = TcpStream::connect_timeout(&shape.address(service)?, CONNECT);
        }
    }
    let before = usage::cpu_seconds(running.id())?;
    let mut took = Vec::new();
    let mut answer = 0;
    for _ in 0..SCRAPES {
        let began = Instant::now();
        answer = scrape()?;
        took.push(u64::try_from(began.elapsed().as_micros())?);
    }
    let cpu_seconds = usage::cpu_seconds(running.id())? - before;
    // A scrape comes every 15 s or so. Soon after it, the agent returns its memory.
    thread::sleep(BETWEEN);
    let cost = Cost {
        cpu_seconds,
        answer,
        anonymous: usage::anonymous_memory(running.id())?,
    };
    running.terminate()?;
    Ok((cost, took))
}

/// The length of the answer.
fn scrape() -> Result<usize> {
    let mut stream = TcpStream::connect(HTTP)?;
    write!(
        stream,
        "GET /metrics HTTP/1.1\r\nHost: agent\r\nAccept: application/openmetrics-text\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    ensure!(answer.ends_with(b"# EOF\n"), "the answer is not whole");
    Ok(answer.len())
}

pub(super) fn line(row: &ScrapeRow) -> String {
    format!(
        "a scrape with {}: {:.0} ms (p99 {:.0} ms), {:.0} ms of CPU, {:.1} MB; anonymous memory {:.1} MB, {:.1} MB without metrics of Services",
        row.shape,
        row.p50_ms,
        row.p99_ms,
        row.cpu_ms,
        row.answer_mb,
        row.anonymous_mb,
        row.anonymous_without_mb
    )
}

pub(super) fn verdicts(row: &ScrapeRow) -> [String; 2] {
    let more = row.anonymous_mb - row.anonymous_without_mb;
    [
        verdict(
            &format!("a scrape: {:.0} ms", row.p50_ms),
            "below 150",
            row.p50_ms < 150.0,
        ),
        verdict(
            &format!("anonymous memory for metrics of Services: {more:.1} MB"),
            "at most 15",
            more <= 15.0,
        ),
    ]
}
