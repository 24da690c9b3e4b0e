//! The thread that lists sockets and ends them, and finds pods.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Instant;

use tokio::sync::oneshot;

use super::ability::{Ability, Limitation};
use super::closed::find_closed;
use super::end::{Ended, IsStillStale, SocketTarget, end};
use super::error::SocketsError;
use super::namespaces::Home;
use super::networks::{self, AskNumber};
use super::pods::{PodSearch, find_pods};

/// Receives the result, once. An error of the receiver itself means that the thread has ended.
pub type Answer<T> = oneshot::Receiver<Result<T, SocketsError>>;

/// A thread that runs as long as this value exists. It enters one network namespace after the other. No other thread of
/// the agent needs CAP_SYS_ADMIN and CAP_SYS_PTRACE. Start it before the rest of the process drops them.
#[derive(Debug)]
pub struct Worker {
    jobs: Sender<Job>,
    ability: Ability,
}

enum Job {
    FindClosed {
        of: HashSet<u64>,
        answer: oneshot::Sender<Result<HashSet<u64>, SocketsError>>,
    },
    End {
        targets: Vec<SocketTarget>,
        is_still: IsStillStale,
        answer: oneshot::Sender<Result<Ended, SocketsError>>,
    },
    NameNamespaces {
        ask: AskNumber,
        answer: oneshot::Sender<Result<HashMap<u64, String>, SocketsError>>,
    },
    FindPods {
        search: PodSearch,
        answer: oneshot::Sender<Result<HashMap<Arc<str>, u64>, SocketsError>>,
    },
}

impl Worker {
    /// Starts the thread in the caller's network namespace, and waits until the thread has tested what it can do.
    ///
    /// `first`: runs on the thread before anything else.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(first: impl FnOnce() + Send + 'static) -> Result<Self, SocketsError> {
        let (jobs, queue) = channel();
        let (sender, started) = channel();
        let work = move || {
            first();
            let home = Home::of_this_thread();
            let thread = home.map(|home| Thread {
                home,
                ability: Ability::of_this_thread(),
                queue,
            });
            match thread {
                Ok(thread) => {
                    let _ = sender.send(Ok(thread.ability.clone()));
                    thread.work();
                }
                Err(error) => drop(sender.send(Err(error))),
            }
        };
        thread::Builder::new()
            .name("sockets".to_owned())
            .spawn(work)
            .map_err(SocketsError::Thread)?;
        let ability = started
            .recv()
            .map_err(|_| SocketsError::Thread(io::Error::other("it ended at once")))??;
        Ok(Self { jobs, ability })
    }

    pub const fn ability(&self) -> &Ability {
        &self.ability
    }

    /// Requests the closed ones of these sockets, by their cookies.
    pub fn find_closed(&self, of: HashSet<u64>) -> Answer<HashSet<u64>> {
        let (answer, answers) = oneshot::channel();
        // If the thread has ended, the receiver reports it.
        let _ = self.jobs.send(Job::FindClosed { of, answer });
        answers
    }

    /// Requests the end of sockets. The thread does this before the work of [`Self::find_closed`], even if that has
    /// begun.
    pub fn end(&self, targets: Vec<SocketTarget>, is_still: IsStillStale) -> Answer<Ended> {
        let (answer, answers) = oneshot::channel();
        let _ = self.jobs.send(Job::End {
            targets,
            is_still,
            answer,
        });
        answers
    }

    /// Requests the names of all network namespaces that can be entered, by what `ask` returns in each.
    pub fn name_namespaces(&self, ask: AskNumber) -> Answer<HashMap<u64, String>> {
        let (answer, answers) = oneshot::channel();
        let _ = self.jobs.send(Job::NameNamespaces { ask, answer });
        answers
    }

    /// Requests the cookies of pods' network namespaces, by UID. As urgent as [`Self::end`].
    pub fn find_pods(&self, search: PodSearch) -> Answer<HashMap<Arc<str>, u64>> {
        let (answer, answers) = oneshot::channel();
        let _ = self.jobs.send(Job::FindPods { search, answer });
        answers
    }
}

struct Thread {
    home: Home,
    ability: Ability,
    queue: Receiver<Job>,
}

impl Thread {
    fn work(self) {
        let mut put_off = VecDeque::new();
        loop {
            let job = match put_off.pop_front() {
                Some(job) => job,
                None => match self.queue.recv() {
                    Ok(job) => job,
                    Err(_) => return,
                },
            };
            // The receiver of the answer may have been dropped.
            match self.do_urgent(job) {
                Some(Job::FindClosed { of, answer }) => {
                    let _ = answer.send(self.find_closed(of, &mut put_off));
                }
                Some(Job::NameNamespaces { ask, answer }) => {
                    let _ = answer.send(self.name_namespaces(ask));
                }
                _ => {}
            }
        }
    }

    /// Does a job that waits for no other, and returns one that may wait.
    fn do_urgent(&self, job: Job) -> Option<Job> {
        match job {
            Job::End {
                targets,
                is_still,
                answer,
            } => drop(answer.send(self.end(&targets, &is_still))),
            Job::FindPods { search, answer } => drop(answer.send(self.find_pods(&search))),
            other => return Some(other),
        }
        None
    }

    fn name_namespaces(&self, ask: AskNumber) -> Result<HashMap<u64, String>, SocketsError> {
        if let Some(lack) = &self.ability.no_reach {
            return Err(SocketsError::NotAllowed(Limitation::clone(lack)));
        }
        networks::find(&self.home, ask)
    }

    fn find_pods(&self, search: &PodSearch) -> Result<HashMap<Arc<str>, u64>, SocketsError> {
        if let Some(lack) = &self.ability.no_reach {
            return Err(SocketsError::NotAllowed(Limitation::clone(lack)));
        }
        find_pods(&self.home, search)
    }

    fn find_closed(
        &self,
        of: HashSet<u64>,
        put_off: &mut VecDeque<Job>,
    ) -> Result<HashSet<u64>, SocketsError> {
        if let Some(lack) = &self.ability.no_reach {
            return Err(SocketsError::NotAllowed(Limitation::clone(lack)));
        }
        find_closed(&self.home, of, &mut || {
            while let Ok(job) = self.queue.try_recv() {
                put_off.extend(self.do_urgent(job));
            }
        })
    }

    fn end(
        &self,
        targets: &[SocketTarget],
        is_still: &IsStillStale,
    ) -> Result<Ended, SocketsError> {
        let began = Instant::now();
        let ended = end(&self.home, self.ability.may_enter, targets, is_still)?;
        tracing::debug!(
            event = "sockets.searched",
            wanted = targets.len(),
            ended = ended.udp.len() + ended.tcp.len(),
            namespaces = ended.namespaces,
            elapsed_seconds = began.elapsed().as_secs_f64(),
            "searched all network namespaces for sockets to end",
        );
        Ok(ended)
    }
}
