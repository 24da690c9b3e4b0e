//! Events over the unix socket: those that are remembered, and a stream that goes on.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use tokio::sync::{mpsc, oneshot};

use super::api::{EVENTS, FOLLOW_EVENTS, REMEMBERED};
use super::events::{EventLog, EventRecord};
use super::question::Question;

const LINES_OF_JSON: &str = "application/x-ndjson";

#[derive(Clone)]
struct Shared {
    questions: mpsc::Sender<Question>,
    events: EventLog,
}

pub fn routes(questions: mpsc::Sender<Question>, events: EventLog) -> Router {
    Router::new()
        .route(EVENTS, get(recent))
        .route(FOLLOW_EVENTS, get(follow))
        .with_state(Shared { questions, events })
}

async fn recent(State(shared): State<Shared>) -> Response {
    let recent = shared.events.recent();
    let records: Vec<&EventRecord> = recent.iter().map(|record| &**record).collect();
    Json(records).into_response()
}

/// One line of JSON for each event, as long as the client reads.
async fn follow(State(shared): State<Shared>) -> Response {
    let follower = shared.events.follow();
    let (sender, answer) = oneshot::channel();
    // The programs report their events once the main loop knows of the follower.
    if shared
        .questions
        .send(Question::FollowEvents(sender))
        .await
        .is_err()
        || answer.await.is_err()
    {
        return (StatusCode::SERVICE_UNAVAILABLE, "the agent is ending").into_response();
    }
    let remembered = HeaderValue::from(follower.remembered());
    let lines = futures_util::stream::unfold(follower, async |mut follower| {
        let record = follower.next().await?;
        let line = serde_json::to_vec(&*record).map(|mut line| {
            line.push(b'\n');
            line
        });
        Some((line, follower))
    });
    (
        [
            (
                header::CONTENT_TYPE,
                HeaderValue::from_static(LINES_OF_JSON),
            ),
            (HeaderName::from_static(REMEMBERED), remembered),
        ],
        Body::from_stream(lines),
    )
        .into_response()
}
