//! What the agent says of itself, asked over its unix socket as `lb-agent status` does.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, Result};
use http_body_util::{BodyExt as _, Empty};
use hyper::{Request, body::Bytes, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::{net::UnixStream, time::timeout};

/// The agent's part is small; the view does not wait for more.
const TIME_LIMIT: Duration = Duration::from_millis(200);

/// The part of the agent's status that is shown.
#[derive(Debug, Deserialize)]
pub(crate) struct Status {
    #[serde(default)]
    pub(crate) hooks: Vec<Hook>,
    /// What it could not use, one line each.
    #[serde(default)]
    pub(crate) problems: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Hook {
    pub(crate) hook: String,
    pub(crate) program_id: u32,
    pub(crate) run_count: u64,
    pub(crate) run_time_ns: u64,
}

/// Asks the agent; none from one that does not answer.
pub(crate) async fn ask(socket: &Path) -> Option<Status> {
    timeout(TIME_LIMIT, fetch(socket)).await.ok()?.ok()
}

async fn fetch(socket: &Path) -> Result<Status> {
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
