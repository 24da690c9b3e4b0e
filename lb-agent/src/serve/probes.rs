//! Probes of one process, over its own unix socket.
//!
//! A pod on the host's network shares its ports with every other such pod. The agent that has the port answers every
//! probe over TCP, so during an update the old agent would answer for the new one. The path of this socket belongs to
//! one pod only (an emptyDir). The process answers on it from its start to its end, also while it waits for another
//! agent to hand over and while it stands by.
//!
//! `GET /livez`: the process works. `GET /readyz`: the process holds the pin folder and the contents of its source are
//! in effect; or that was so, and it has handed over to another agent since.

use std::io;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use tokio::sync::mpsc;

use super::api::{LIVE, READY};
use super::question::{Question, Readiness};
use super::readiness::{alive, no_answer};
use super::server::{OwnSocket, ServerError};
use super::serving::Serving;

/// The stage of the process.
#[derive(Clone, Debug)]
pub enum ProcessStage {
    /// The process opens the source and the data path.
    Starting,
    /// Another agent holds the pin folder.
    Waiting,
    /// The process holds the folder; its main loop answers.
    Running(mpsc::Sender<Question>),
    /// The process has handed over, and starts again when the other agent has exited.
    StandingBy {
        /// Everything was in effect at the hand-over.
        was_ready: bool,
    },
}

/// The stage of a process, and the socket that reports it.
#[derive(Debug)]
pub struct Probes {
    socket: Option<OwnSocket<UnixListener>>,
    stage: Arc<Mutex<ProcessStage>>,
}

impl Probes {
    /// Binds the socket, accessible to its owner only. Without a path there is no socket.
    ///
    /// # Errors
    /// Another process listens there, or the path is unusable.
    pub fn bind(path: Option<&Path>) -> Result<Self, ServerError> {
        let bind = |path: &Path| {
            OwnSocket::bind("--probe-socket", path, |path| {
                let listener = UnixListener::bind(path)?;
                listener.set_nonblocking(true)?;
                Ok(listener)
            })
        };
        Ok(Self {
            socket: path.map(bind).transpose()?,
            stage: Arc::new(Mutex::new(ProcessStage::Starting)),
        })
    }

    /// Answers as long as the current runtime exists. Requests between two runtimes wait.
    ///
    /// # Errors
    /// The process has too many open files.
    pub fn serve(&self) -> io::Result<()> {
        let Some(socket) = &self.socket else {
            return Ok(());
        };
        let listener = tokio::net::UnixListener::from_std(socket.listener.try_clone()?)?;
        let router = Router::new()
            .route(LIVE, get(live))
            .route(READY, get(ready))
            .with_state(Arc::clone(&self.stage));
        Serving::router(listener, router, "probe");
        Ok(())
    }

    pub fn enter(&self, stage: ProcessStage) {
        *self.stage.lock().unwrap_or_else(PoisonError::into_inner) = stage;
    }
}

type SharedStage = Arc<Mutex<ProcessStage>>;

fn current(stage: &SharedStage) -> ProcessStage {
    stage.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

async fn live(State(stage): State<SharedStage>) -> Response {
    let ProcessStage::Running(questions) = current(&stage) else {
        return alive();
    };
    match Readiness::ask(&questions).await {
        Some(_) => alive(),
        // The process may have left that stage meanwhile.
        None if !matches!(current(&stage), ProcessStage::Running(_)) => alive(),
        None => no_answer(),
    }
}

async fn ready(State(stage): State<SharedStage>) -> Response {
    if let ProcessStage::Running(questions) = current(&stage)
        && let Some(readiness) = Readiness::ask(&questions).await
    {
        return readiness.ready();
    }
    match current(&stage) {
        ProcessStage::Starting => not_ready("starting\n"),
        ProcessStage::Waiting => not_ready("waiting until another lb-agent hands over or ends\n"),
        ProcessStage::Running(_) => no_answer(),
        ProcessStage::StandingBy { was_ready: true } => {
            "ok\nstanding by: another lb-agent has taken over\n".into_response()
        }
        ProcessStage::StandingBy { was_ready: false } => {
            not_ready("standing by: another lb-agent took over before this one was ready\n")
        }
    }
}

fn not_ready(why: &'static str) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, why).into_response()
}
