//! Metrics and probes over HTTP, for Prometheus and the kubelet.
//!
//! `/metrics`; `/healthz` (and `/livez`): the agent answers; `/readyz`: what the source says is in effect, and from where no
//! changes come.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

use super::{Metrics, Question, Serving, Status, connections};

/// Whoever does not answer within this is not healthy.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Why nothing is served over HTTP.
#[derive(Debug, thiserror::Error)]
#[error("--http {address}: {error}: name another address and port")]
pub struct HttpError {
    address: SocketAddr,
    error: std::io::Error,
}

/// An address that is listened on.
#[derive(Debug)]
pub struct HttpServer {
    listener: TcpListener,
}

#[derive(Clone)]
struct Shared {
    questions: mpsc::Sender<Question>,
    metrics: Arc<Metrics>,
}

impl HttpServer {
    /// # Errors
    /// The address is not this node's, or somebody listens there.
    pub async fn bind(address: SocketAddr) -> Result<Self, HttpError> {
        let listener = TcpListener::bind(address).await;
        let listener = listener.map_err(|error| HttpError { address, error })?;
        if let Ok(address) = listener.local_addr() {
            tracing::info!("metrics and probes on http://{address}");
        }
        Ok(Self { listener })
    }

    pub fn start(self, questions: mpsc::Sender<Question>, metrics: Arc<Metrics>) -> Serving {
        let router = Router::new()
            .route("/metrics", get(metrics_text))
            .route("/healthz", get(healthz))
            .route("/livez", get(healthz))
            .route("/readyz", get(readyz))
            .with_state(Shared { questions, metrics });
        let listener = self.listener;
        Serving::start(|closed| connections::serve(listener, router, closed))
    }
}

async fn metrics_text(State(shared): State<Shared>) -> Response {
    let Some(status) = shared.status().await else {
        return no_answer();
    };
    match shared.metrics.text(&status) {
        Ok(text) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn healthz(State(shared): State<Shared>) -> Response {
    match shared.status().await {
        Some(_) => "ok\n".into_response(),
        None => no_answer(),
    }
}

async fn readyz(State(shared): State<Shared>) -> Response {
    match shared.status().await {
        Some(status) if status.ready => format!("ok\n{}", in_trouble(&status)).into_response(),
        Some(status) => (StatusCode::SERVICE_UNAVAILABLE, why_not(&status)).into_response(),
        None => no_answer(),
    }
}

/// One line for each kind that was not listed yet.
fn why_not(status: &Status) -> String {
    let missing = status.source.watches.iter().filter(|watch| !watch.listed);
    let lines = missing.map(|watch| match &watch.trouble {
        Some(why) => format!("{}s were not listed yet: {why}\n", watch.kind),
        None => format!("{}s were not listed yet\n", watch.kind),
    });
    lines.collect()
}

/// One line for each kind of which no changes come. What is known stays in effect, so that is no reason not to be ready: all
/// nodes would be unready at once.
fn in_trouble(status: &Status) -> String {
    let watches = status.source.watches.iter();
    let lines = watches.filter_map(|watch| {
        let (why, seconds) = (watch.trouble.as_ref()?, watch.trouble_seconds?);
        let kind = &watch.kind;
        Some(format!(
            "{kind}s are as they were {seconds:.0} s ago: {why}\n"
        ))
    });
    lines.collect()
}

fn no_answer() -> Response {
    let message = "the agent does not answer\n";
    (StatusCode::SERVICE_UNAVAILABLE, message).into_response()
}

impl Shared {
    /// None from an agent that is stuck, or ending.
    async fn status(&self) -> Option<Status> {
        let (sender, answer) = oneshot::channel();
        let asked = async {
            self.questions.send(Question::Status(sender)).await.ok()?;
            answer.await.ok()
        };
        tokio::time::timeout(ANSWER_WITHIN, asked).await.ok()?
    }
}
