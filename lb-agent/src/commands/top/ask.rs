//! Asks the agent for what the screen shows, again and again.

use std::path::PathBuf;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};

use crate::serve::{self, BackendStatus, Selection, ServiceName, ServiceStatus, Status};

/// An agent that does not answer within this time is in trouble.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// The time for which the first rates are measured.
const FIRST_INTERVAL: Duration = Duration::from_secs(1);

/// What a screen is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    /// The Services, without their backends.
    Services(Selection),
    /// One Service, with its backends.
    Service { namespace: String, name: String },
}

/// What an agent has answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub at: std::time::Instant,
    pub status: Status,
    /// Sorted by namespace and name.
    pub services: Vec<ServiceStatus>,
    pub backends: Vec<BackendStatus>,
}

/// Asks an agent.
#[derive(Debug)]
pub(super) struct Asker {
    socket: PathBuf,
    interval: Duration,
    subject: Subject,
    due: Instant,
    is_first: bool,
    under_way: Option<JoinHandle<anyhow::Result<Answer>>>,
}

impl Asker {
    /// `interval`: the time between an answer and the next question.
    pub fn new(socket: PathBuf, subject: Subject, interval: Duration) -> Self {
        Self {
            socket,
            interval,
            subject,
            due: Instant::now(),
            is_first: true,
            under_way: None,
        }
    }

    /// Asks about another subject, at once.
    pub fn ask_about(&mut self, subject: Subject) {
        if let Some(task) = self.under_way.take() {
            task.abort();
        }
        self.subject = subject;
        self.due = Instant::now();
        self.is_first = true;
    }

    /// Waits for the next answer. A call that is dropped loses nothing.
    pub async fn next(&mut self) -> anyhow::Result<Answer> {
        if self.under_way.is_none() {
            sleep_until(self.due).await;
        }
        let (socket, subject) = (&self.socket, &self.subject);
        let task = self.under_way.get_or_insert_with(|| {
            let (socket, subject) = (socket.clone(), subject.clone());
            tokio::spawn(ask(socket, subject))
        });
        let answer = task.await;
        self.under_way = None;
        self.due = Instant::now()
            + match std::mem::replace(&mut self.is_first, false) {
                true => self.interval.min(FIRST_INTERVAL),
                false => self.interval,
            };
        answer?
    }
}

async fn ask(socket: PathBuf, subject: Subject) -> anyhow::Result<Answer> {
    let answer = timeout(ANSWER_WITHIN, async {
        let status = serve::fetch(&socket, serve::STATUS).await?;
        let (services, backends) = match subject {
            Subject::Services(selection) => {
                let services = selection.of(serve::SERVICES);
                (serve::fetch(&socket, &services).await?, Vec::new())
            }
            Subject::Service { namespace, name } => {
                let selection = Selection {
                    namespace: None,
                    services: vec![ServiceName {
                        namespace: Some(namespace),
                        name,
                    }],
                };
                let services = serve::fetch(&socket, &selection.of(serve::SERVICES)).await?;
                let backends = serve::fetch(&socket, &selection.of(serve::BACKENDS)).await?;
                (services, backends)
            }
        };
        Ok(Answer {
            at: std::time::Instant::now(),
            status,
            services,
            backends,
        })
    });
    let seconds = ANSWER_WITHIN.as_secs();
    answer.await.unwrap_or_else(|_| {
        anyhow::bail!(
            "the agent on {} has not answered within {seconds} s",
            socket.display()
        )
    })
}
