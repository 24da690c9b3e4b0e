//! A client: HTTP requests to the Service. Each has a connection of its own, since socklb chooses a backend for each connection.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, header};
use hyper_util::rt::TokioIo;
use nix::libc;
use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::progress::Progress;

/// 100 requests a second, in bursts: with single requests the hook would always run with cold caches, and its cost would tell more
/// about the machine than about the hook. More could fill conntrack, which remembers a closed connection for two minutes.
const BURST_EVERY: Duration = Duration::from_millis(200);
const BURST: usize = 20;
const REPORT_EVERY: Duration = Duration::from_millis(250);
const TIME_LIMIT: Duration = Duration::from_secs(2);
/// Most requests at the same time.
const AT_ONCE: usize = 2 * BURST;

pub(crate) fn run(to: SocketAddr) -> Result<ExitCode> {
    let runtime = lb_testbed::runtime()?;
    runtime.block_on(load(to))?;
    Ok(ExitCode::SUCCESS)
}

async fn load(to: SocketAddr) -> Result<()> {
    let mut terminated = signal(SignalKind::terminate())?;
    let mut next = interval(BURST_EVERY);
    next.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut report = interval(REPORT_EVERY);
    let mut under_way = JoinSet::new();
    let mut progress = Progress::default();
    loop {
        tokio::select! {
            _ = terminated.recv() => return say(&progress),
            _ = report.tick() => say(&progress)?,
            Some(Ok((took, result))) = under_way.join_next() => count(&mut progress, took, result),
            _ = next.tick(), if under_way.len() + BURST <= AT_ONCE => {
                for _ in 0..BURST {
                    under_way.spawn(request(to));
                }
            }
        }
    }
}

async fn request(to: SocketAddr) -> (Duration, Result<String>) {
    let started = Instant::now();
    let result = timeout(TIME_LIMIT, ask(to)).await;
    let result = result.with_context(|| format!("no answer within {TIME_LIMIT:?}"));
    (started.elapsed(), result.and_then(|answer| answer))
}

fn say(progress: &Progress) -> Result<()> {
    let mut line = serde_json::to_string(progress)?;
    line.push('\n');
    io::stdout()
        .write_all(line.as_bytes())
        .context("cannot send a report to the node")
}

fn count(progress: &mut Progress, took: Duration, result: Result<String>) {
    progress.requests += 1;
    match result {
        Ok(name) => {
            *progress.answers.entry(name).or_default() += 1;
            progress.answer_micros += u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        }
        Err(error) => {
            progress.failures += 1;
            progress.last_failure = Some(format!("{error:#}"));
        }
    }
}

/// One GET. The first line of the answer is the pod's name.
async fn ask(to: SocketAddr) -> Result<String> {
    let stream = TcpStream::connect(to)
        .await
        .map_err(explain)
        .context("connect")?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = Request::get("/")
        .header(header::HOST, to.ip().to_string())
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    if !response.status().is_success() {
        bail!("status {}", response.status());
    }
    let body = response.into_body().collect().await?.to_bytes();
    let text = std::str::from_utf8(&body).context("the answer is not text")?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

/// Explains an error of connect().
fn explain(error: io::Error) -> anyhow::Error {
    let meaning = match error.raw_os_error() {
        Some(libc::ECONNREFUSED) => "no endpoint is ready, or the pod does not listen on that port",
        Some(libc::ENETUNREACH) => "no Service has this address, and there is no route to it",
        _ => return error.into(),
    };
    anyhow::anyhow!("{error}: {meaning}")
}
