//! The clients: requests that arrive as a Poisson process, independent of the answers to earlier ones.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use fastrand::Rng;
use lb_testbed::Pod;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::sleep_until;

/// How requests come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    pub(super) to: SocketAddr,
    /// Requests a second.
    pub(super) rate: f64,
    pub(super) length: Duration,
    pub(super) seed: u64,
}

/// A request that was answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer {
    /// From the beginning of the load to the request's arrival.
    pub(super) came: Duration,
    /// From its arrival to its answer.
    pub(super) took: Duration,
    /// The server's index.
    pub(super) server: usize,
}

/// Sends the requests from a pod, in the order of their arrival. `before` is called with the time of each.
pub(super) fn send(
    client: &Pod,
    load: Load,
    before: impl FnMut(Duration) -> Result<()> + Send,
) -> Result<Vec<Answer>> {
    client.enter(|| {
        let runtime = lb_testbed::runtime()?;
        runtime.block_on(send_all(load, before))
    })?
}

async fn send_all(
    load: Load,
    mut before: impl FnMut(Duration) -> Result<()>,
) -> Result<Vec<Answer>> {
    let Load { to, rate, .. } = load;
    let mut rng = Rng::with_seed(load.seed);
    let mut under_way = JoinSet::new();
    let start = Instant::now();
    let mut next = start;
    while next < start + load.length {
        sleep_until(next.into()).await;
        before(next - start)?;
        let came = next;
        under_way.spawn(async move {
            let server = ask(to).await?;
            anyhow::Ok(Answer {
                came: came - start,
                took: came.elapsed(),
                server,
            })
        });
        next += Duration::from_secs_f64(-(1.0 - rng.f64()).ln() / rate);
    }
    let mut answers = Vec::new();
    while let Some(one) = under_way.join_next().await {
        answers.push(one??);
    }
    Ok(answers)
}

async fn ask(to: SocketAddr) -> Result<usize> {
    let mut stream = TcpStream::connect(to).await.context("cannot connect")?;
    let mut number = [0];
    stream
        .read_exact(&mut number)
        .await
        .context("the server did not answer")?;
    Ok(number[0].into())
}
