//! Metrics and health over HTTP, for Prometheus and for other clients that ask about a node, whichever agent serves it.
//!
//! `/metrics`: metrics, in the format that the client accepts. `/healthz` and `/livez`: the agent answers. `/readyz`: whether the
//! contents of the source are in effect, and which kinds have no incoming changes. `/`: the status page. A pod's own probes use `super::Probes` instead.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::api::{LIVE, READY};
use super::connections;
use super::metrics::Metrics;
use super::page;
use super::question::{Question, Readiness};
use super::readiness::{alive, answer_within, no_answer};
use super::serving::Serving;
use super::text_format::TextFormat;

/// An agent that takes longer to update its metrics is stuck.
const UPDATE_WITHIN: Duration = Duration::from_secs(5);

/// Why HTTP is not served.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on --http {address}: {error}; name another address and port")]
pub struct HttpError {
    address: SocketAddr,
    error: std::io::Error,
}

/// An address with a listener.
#[derive(Debug)]
pub struct HttpServer {
    listener: TcpListener,
}

#[derive(Clone)]
struct HttpState {
    questions: mpsc::Sender<Question>,
    metrics: Arc<Metrics>,
}

impl HttpServer {
    /// # Errors
    /// The address is not this node's, or a process listens there already.
    pub async fn bind(address: SocketAddr) -> Result<Self, HttpError> {
        let listener = TcpListener::bind(address).await;
        let listener = listener.map_err(|error| HttpError { address, error })?;
        if let Ok(address) = listener.local_addr() {
            tracing::info!(
                event = "serve.http_started",
                %address,
                "serving metrics and probes over HTTP",
            );
        }
        Ok(Self { listener })
    }

    /// `has_page`: serves the status page too, which names Services.
    pub fn start(
        self,
        questions: mpsc::Sender<Question>,
        metrics: Metrics,
        has_page: bool,
    ) -> Serving {
        let metrics = Arc::new(metrics);
        let page = has_page.then(|| page::routes(questions.clone()));
        let router = Router::new()
            .route("/metrics", get(metrics_text))
            .route("/healthz", get(live))
            .route(LIVE, get(live))
            .route(READY, get(ready))
            .with_state(HttpState { questions, metrics })
            .merge(page.unwrap_or_default());
        let listener = self.listener;
        Serving::start(|closed| connections::serve(listener, router, closed))
    }
}

async fn metrics_text(State(shared): State<HttpState>, headers: HeaderMap) -> Response {
    let format = TextFormat::asked_for(&headers);
    let updated = answer_within(UPDATE_WITHIN, &shared.questions, Question::Metrics).await;
    let Some(()) = updated else {
        return no_answer();
    };
    // Long texts take some time, in which the main loop has other work.
    let text = tokio::task::spawn_blocking(move || shared.metrics.text(format)).await;
    match text.map_err(|error| error.to_string()) {
        Ok(Ok(text)) => ([(header::CONTENT_TYPE, format.content_type())], text).into_response(),
        Ok(Err(error)) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error).into_response(),
    }
}

async fn live(State(shared): State<HttpState>) -> Response {
    match Readiness::ask(&shared.questions).await {
        Some(_) => alive(),
        None => no_answer(),
    }
}

async fn ready(State(shared): State<HttpState>) -> Response {
    match Readiness::ask(&shared.questions).await {
        Some(readiness) => readiness.ready(),
        None => no_answer(),
    }
}
