//! The agent's status, from its unix socket, as `lb-agent status` reads it.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, header};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::UnixStream;
use tokio::time::timeout;

/// The agent answers at once.
const TIME_LIMIT: Duration = Duration::from_millis(200);

/// The part of the agent's status that the testbed uses.
#[derive(Debug, Deserialize)]
pub struct AgentStatus {
    #[serde(default)]
    pub hooks: Vec<AgentHook>,
    /// Problems with objects, one line each.
    #[serde(default)]
    pub problems: Vec<String>,
    /// The number of Services that it stores.
    #[serde(default)]
    pub services: usize,
    /// None if the packet path is off.
    #[serde(rename = "packetPath")]
    pub packet_path: Option<AgentPackets>,
    pub syncs: AgentSyncs,
    pub drift: AgentDrift,
}

/// Its packet path.
#[derive(Debug, Deserialize)]
pub struct AgentPackets {
    /// The devices whose packets it balances; none if the kernel cannot have the packet path.
    pub devices: Vec<String>,
    /// What does not work, one line each.
    pub trouble: Vec<String>,
}

/// Its checks for writes of others to its tables.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct AgentDrift {
    /// The number of complete checks.
    pub checks: u64,
}

/// Its updates of the tables.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentSyncs {
    /// The number of updates.
    pub count: u64,
    /// From the arrival of the last changes to the last store.
    pub last_micros: u64,
    /// CPU time for the first update, without decoding.
    pub first_cpu_micros: u64,
    /// The part of it after the last listed object.
    pub first_tables_cpu_micros: u64,
}

/// An attached program, with the kernel's count of its runs, which needs BPF_ENABLE_STATS.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentHook {
    pub hook: String,
    pub program_id: u32,
    pub run_count: u64,
    pub run_time_ns: u64,
}

/// Asks the agent; none if it does not answer.
pub async fn ask_status(socket: &Path) -> Option<AgentStatus> {
    timeout(TIME_LIMIT, fetch(socket)).await.ok()?.ok()
}

async fn fetch(socket: &Path) -> Result<AgentStatus> {
    let stream = UnixStream::connect(socket)
        .await
        .context("the agent's socket")?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = Request::get("/v1/status")
        .header(header::HOST, "agent")
        .body(Empty::<Bytes>::new())?;
    let body = sender
        .send_request(request)
        .await?
        .into_body()
        .collect()
        .await?
        .to_bytes();
    serde_json::from_slice(&body).context("the agent's status is not as expected")
}
