//! The server side of the unix socket.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use rustix::fs::Mode;
use rustix::process::umask;
use serde::Serialize;
use tokio::net::UnixListener;
use tokio::sync::{mpsc, oneshot};

use super::api::{HAND_OVER, HandOver, HandingOver, STATUS};
use super::event_routes;
use super::events::EventLog;
use super::explanation::EXPLAIN;
use super::objects::{BACKENDS, FRONTENDS, SERVICES};
use super::question::Question;
use super::selection::Selection;
use super::serving::Serving;
use super::shadow::SHADOW;
use super::target::ExplainRequest;

/// Why the socket could not be bound.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {flag} {}: {error}; name another path with {flag}", path.display())]
pub struct ServerError {
    flag: &'static str,
    path: PathBuf,
    error: io::Error,
}

/// A unix socket that only its owner can access. Its file is removed on drop.
#[derive(Debug)]
pub struct OwnSocket<L> {
    pub listener: L,
    path: SocketFile,
}

/// The file of a socket, removed on drop.
#[derive(Debug)]
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Another process may have removed it already.
        let _ = fs::remove_file(&self.0);
    }
}

impl<L> OwnSocket<L> {
    /// Makes the folder if necessary, and removes a socket without a listener.
    ///
    /// `flag`: the flag that sets the path.
    ///
    /// # Errors
    /// A process listens there, the path is another kind of file, or it is unusable.
    pub fn bind(
        flag: &'static str,
        path: &Path,
        bind: impl FnOnce(&Path) -> io::Result<L>,
    ) -> Result<Self, ServerError> {
        let failed = |error| ServerError {
            flag,
            path: path.to_owned(),
            error,
        };
        if let Some(folder) = path.parent().filter(|folder| !folder.exists()) {
            let mut builder = fs::DirBuilder::new();
            builder
                .recursive(true)
                .mode(0o755)
                .create(folder)
                .map_err(failed)?;
        }
        remove_stale(path).map_err(failed)?;
        // The socket is accessible to its owner only from the first moment on, whatever the umask was. No other thread
        // makes files meanwhile.
        let before = umask(Mode::RWXG | Mode::RWXO | Mode::XUSR);
        let listener = bind(path);
        umask(before);
        Ok(Self {
            listener: listener.map_err(failed)?,
            path: SocketFile(path.to_owned()),
        })
    }
}

/// A bound socket, removed on drop.
#[derive(Debug)]
pub struct Server {
    listener: Option<UnixListener>,
    serving: Option<Serving>,
    _path: SocketFile,
}

impl Server {
    /// Binds the socket, accessible to its owner only.
    ///
    /// Call it with the pin folder locked: then an existing socket has no listener any more.
    pub fn bind(path: &Path) -> Result<Self, ServerError> {
        let OwnSocket { listener, path } =
            OwnSocket::bind("--socket", path, |path| UnixListener::bind(path))?;
        Ok(Self {
            listener: Some(listener),
            serving: None,
            _path: path,
        })
    }

    pub fn start(&mut self, questions: mpsc::Sender<Question>, events: EventLog) {
        let Some(listener) = self.listener.take() else {
            return;
        };
        let router = Router::new()
            .route(STATUS, get(status))
            .route(SERVICES, get(services))
            .route(FRONTENDS, get(frontends))
            .route(BACKENDS, get(backends))
            .route(EXPLAIN, get(explain))
            .route(SHADOW, get(shadow))
            .route(HAND_OVER, post(hand_over))
            .with_state(questions.clone())
            .merge(event_routes::routes(questions, events));
        self.serving = Some(Serving::router(listener, router, "agent"));
    }

    /// Closes the server and removes its file before the process ends.
    pub async fn close(mut self) {
        if let Some(serving) = self.serving.take() {
            serving.close().await;
        }
    }
}

/// Removes a socket that an agent left. Any other file at that path stays.
fn remove_stale(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::FileTypeExt as _;
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(found) if !found.file_type().is_socket() => {
            Err(io::Error::other("the file there is not a socket"))
        }
        Ok(_) => match std::os::unix::net::UnixStream::connect(path) {
            Ok(_) => Err(io::Error::other("another process listens there")),
            Err(_) => fs::remove_file(path),
        },
    }
}

/// Where handlers send what the main loop answers.
type Questions = State<mpsc::Sender<Question>>;

async fn status(State(questions): Questions) -> Response {
    ask(&questions, Question::Status).await
}

async fn services(State(questions): Questions, RawQuery(query): RawQuery) -> Response {
    list(&questions, query, Question::Services).await
}

async fn frontends(State(questions): Questions, RawQuery(query): RawQuery) -> Response {
    list(&questions, query, Question::Frontends).await
}

async fn backends(State(questions): Questions, RawQuery(query): RawQuery) -> Response {
    list(&questions, query, Question::Backends).await
}

async fn shadow(State(questions): Questions) -> Response {
    ask(&questions, Question::Shadow).await
}

async fn explain(State(questions): Questions, RawQuery(query): RawQuery) -> Response {
    match ExplainRequest::from_query(&query.unwrap_or_default()) {
        Ok(request) => ask(&questions, |answer| Question::Explain(request, answer)).await,
        Err(error) => (StatusCode::BAD_REQUEST, error).into_response(),
    }
}

async fn list<T: Serialize>(
    questions: &mpsc::Sender<Question>,
    query: Option<String>,
    question: impl FnOnce(Selection, oneshot::Sender<Vec<T>>) -> Question,
) -> Response {
    let selection = Selection::from_query(&query.unwrap_or_default());
    ask(questions, |answer| question(selection, answer)).await
}

async fn hand_over(State(questions): Questions, Json(wanted): Json<HandOver>) -> Response {
    match answer(&questions, |sender| Question::HandOver(wanted, sender)).await {
        Some(true) => Json(HandingOver {
            version: env!("CARGO_PKG_VERSION").to_owned(),
        })
        .into_response(),
        Some(false) => {
            (StatusCode::CONFLICT, "this agent holds another pin folder").into_response()
        }
        None => ending(),
    }
}

async fn ask<T: Serialize>(
    questions: &mpsc::Sender<Question>,
    question: impl FnOnce(oneshot::Sender<T>) -> Question,
) -> Response {
    match answer(questions, question).await {
        Some(answer) => Json(answer).into_response(),
        None => ending(),
    }
}

async fn answer<T>(
    questions: &mpsc::Sender<Question>,
    question: impl FnOnce(oneshot::Sender<T>) -> Question,
) -> Option<T> {
    let (sender, answer) = oneshot::channel();
    questions.send(question(sender)).await.ok()?;
    answer.await.ok()
}

fn ending() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, "the agent is ending").into_response()
}
