//! The unix socket's server side.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use rustix::fs::Mode;
use rustix::process::umask;
use serde::Serialize;
use tokio::net::UnixListener;
use tokio::sync::{mpsc, oneshot};

use super::{BACKENDS, BackendStatus, STATUS, Status};

/// What is asked of the task that owns the tables.
#[derive(Debug)]
pub enum Question {
    Status(oneshot::Sender<Status>),
    Backends(oneshot::Sender<Vec<BackendStatus>>),
}

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
#[error("--socket {}: {error}: name another path with --socket", path.display())]
pub struct ServerError {
    path: PathBuf,
    error: io::Error,
}

/// A socket that is bound; removed when this goes.
#[derive(Debug)]
pub struct Server {
    listener: Option<UnixListener>,
    path: PathBuf,
}

impl Server {
    /// Binds the socket, readable by its owner alone.
    ///
    /// Call it with the pin folder locked: then a socket that is there is one that nobody listens on any more.
    pub fn bind(path: &Path) -> Result<Self, ServerError> {
        let failed = |error| ServerError {
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
        let listener = bind_for_owner(path).map_err(failed)?;
        Ok(Self {
            listener: Some(listener),
            path: path.to_owned(),
        })
    }

    /// Answers until the process ends.
    pub fn start(&mut self, questions: mpsc::Sender<Question>) {
        let Some(listener) = self.listener.take() else {
            return;
        };
        let router = Router::new()
            .route(STATUS, get(status))
            .route(BACKENDS, get(backends))
            .with_state(questions);
        tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!("the unix socket is no longer served: {error}");
            }
        });
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Somebody may have removed it already.
        let _ = fs::remove_file(&self.path);
    }
}

/// It is the owner's from the first moment on, whatever the umask was. No other thread makes files meanwhile.
fn bind_for_owner(path: &Path) -> io::Result<UnixListener> {
    let before = umask(Mode::RWXG | Mode::RWXO | Mode::XUSR);
    let listener = UnixListener::bind(path);
    umask(before);
    listener
}

/// Removes a socket that an agent left; anything else at that path is somebody's.
fn remove_stale(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::FileTypeExt as _;
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(found) if !found.file_type().is_socket() => {
            Err(io::Error::other("something that is no socket is there"))
        }
        Ok(_) => match std::os::unix::net::UnixStream::connect(path) {
            Ok(_) => Err(io::Error::other("another process listens there")),
            Err(_) => fs::remove_file(path),
        },
    }
}

async fn status(State(questions): State<mpsc::Sender<Question>>) -> Response {
    ask(&questions, Question::Status).await
}

async fn backends(State(questions): State<mpsc::Sender<Question>>) -> Response {
    ask(&questions, Question::Backends).await
}

async fn ask<T: Serialize>(
    questions: &mpsc::Sender<Question>,
    question: impl FnOnce(oneshot::Sender<T>) -> Question,
) -> Response {
    let (sender, answer) = oneshot::channel();
    if questions.send(question(sender)).await.is_ok()
        && let Ok(answer) = answer.await
    {
        return Json(answer).into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, "the agent is ending").into_response()
}
