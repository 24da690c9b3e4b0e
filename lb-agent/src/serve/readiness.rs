//! The answers to liveness and readiness probes, over HTTP and over a process's own socket.

use std::time::Duration;

use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use tokio::sync::{mpsc, oneshot};

use super::api::SourceStatus;
use super::question::{Question, Readiness};

/// An agent that does not answer within this time is stuck. The time is shorter than the timeout of the pods' probes,
/// so that the answer contains the reason.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(3);

impl Readiness {
    /// Asks the agent's main loop. None if the agent is stuck or ending.
    pub async fn ask(questions: &mpsc::Sender<Question>) -> Option<Self> {
        answer_within(ANSWER_WITHIN, questions, Question::Readiness).await
    }

    /// 200 while the agent is ready, 503 with the reasons otherwise.
    pub fn ready(&self) -> Response {
        if self.is_ready {
            return format!("ok\n{}", in_trouble(&self.source)).into_response();
        }
        (StatusCode::SERVICE_UNAVAILABLE, why_not(&self.source)).into_response()
    }
}

/// Sends a question to the agent's main loop. None if no answer comes in time, or the agent ends.
pub async fn answer_within<T>(
    time: Duration,
    questions: &mpsc::Sender<Question>,
    question: impl FnOnce(oneshot::Sender<T>) -> Question,
) -> Option<T> {
    let (sender, answer) = oneshot::channel();
    let asked = async {
        questions.send(question(sender)).await.ok()?;
        answer.await.ok()
    };
    tokio::time::timeout(time, asked).await.ok()?
}

pub fn alive() -> Response {
    "ok\n".into_response()
}

pub fn no_answer() -> Response {
    let message = "the agent does not answer\n";
    (StatusCode::SERVICE_UNAVAILABLE, message).into_response()
}

/// One line for each kind that is not listed yet.
fn why_not(source: &SourceStatus) -> String {
    let missing = source.watches.iter().filter(|watch| !watch.listed);
    let lines = missing.map(|watch| match &watch.trouble {
        Some(why) => format!("{}s were not listed yet: {why}\n", watch.kind),
        None => format!("{}s were not listed yet\n", watch.kind),
    });
    lines.collect()
}

/// One line for each kind without incoming changes. The last contents stay in effect, so the agent remains ready:
/// otherwise all nodes would become unready at once.
fn in_trouble(source: &SourceStatus) -> String {
    let lines = source.watches.iter().filter_map(|watch| {
        let (why, seconds) = (watch.trouble.as_ref()?, watch.trouble_seconds?);
        let kind = &watch.kind;
        Some(format!(
            "{kind}s are as they were {seconds:.0} s ago: {why}\n"
        ))
    });
    lines.collect()
}
