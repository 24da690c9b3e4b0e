//! Which pods' sockets the hooks serve: watches the node's pods, finds their network namespaces, and keeps CLIENTS.

mod metrics;
mod search;
mod start;
#[cfg(test)]
mod tests;
mod tracker;

use std::collections::HashMap;
use std::future::pending;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use self::search::Pace;
use super::problem_log::ProblemLog;
use crate::catalog::{Change, Problem};
use crate::kernel::ClientMap;
use crate::serve::ClientStatus;
use crate::sockets::{Answer, Worker};

pub use self::metrics::ClientMetrics;
pub use self::start::prepare;
pub use self::tracker::{PodCounts, PodState, PodTracker};

/// How many pods that were not found the status names.
const SHOWN: usize = 10;

/// The selection of a running agent.
#[derive(Debug)]
pub struct Clients {
    tracker: PodTracker,
    map: ClientMap,
    worker: Arc<Worker>,
    /// Below it are the cgroups of pods.
    cgroup: PathBuf,
    /// The search under way.
    search: Option<Answer<HashMap<Arc<str>, u64>>>,
    pace: Pace,
    /// Every kind was listed.
    has_listed: bool,
    /// A search has succeeded, so elements of pods that it did not find are leftovers.
    has_searched: bool,
    problem_log: ProblemLog,
    search_error: Option<String>,
    write_error: Option<String>,
}

/// What happened to a search.
#[derive(Debug)]
pub enum ClientEvent {
    Due,
    Ended(Result<HashMap<Arc<str>, u64>, String>),
}

/// The next event; never one if all clients are served.
pub async fn next(clients: &mut Option<Clients>) -> ClientEvent {
    match clients {
        Some(clients) => clients.next().await,
        None => pending().await,
    }
}

impl Clients {
    pub fn new(tracker: PodTracker, map: ClientMap, worker: Arc<Worker>, cgroup: PathBuf) -> Self {
        tracing::info!(
            event = "pods.selected",
            selection = %tracker.selection(),
            "the hooks serve only the selected pods, each from when its network namespace is found",
        );
        Self {
            tracker,
            map,
            worker,
            cgroup,
            search: None,
            pace: Pace::new(Instant::now()),
            has_listed: false,
            has_searched: false,
            problem_log: ProblemLog::default(),
            search_error: None,
            write_error: None,
        }
    }

    /// Takes the changes of pods and namespaces out of these, which take effect with [`Self::apply`].
    pub fn learn(&mut self, changes: &mut Vec<Change>) {
        self.tracker.learn(changes);
    }

    /// Brings into effect what was learnt. Call it first when every source has listed.
    pub fn apply(&mut self) {
        let is_first = !std::mem::replace(&mut self.has_listed, true);
        if self.tracker.update() || is_first {
            self.pace.hurry();
            self.write();
            let problems = self.tracker.problems().map(|problem| (problem, false));
            self.problem_log.update(problems);
        }
    }

    async fn next(&mut self) -> ClientEvent {
        if let Some(under_way) = &mut self.search {
            let ended = under_way.await;
            self.search = None;
            return ClientEvent::Ended(search::answer(ended));
        }
        if !self.has_listed {
            return pending().await;
        }
        let (has_due, has_missing) = (self.tracker.has_due(), self.tracker.has_missing());
        tokio::time::sleep_until(self.pace.next(has_due, has_missing).into()).await;
        ClientEvent::Due
    }

    pub fn take(&mut self, event: ClientEvent) {
        let now = Instant::now();
        match event {
            ClientEvent::Due => {
                if self.pace.checks_all(now) {
                    self.tracker.suspect_all();
                }
                let search = search::of(self.cgroup.clone(), self.tracker.begin_search());
                self.search = Some(self.worker.find_pods(search));
            }
            ClientEvent::Ended(Ok(found)) => {
                let is_new = self.tracker.end_search(&found);
                self.pace.searched(now, is_new);
                self.has_searched = true;
                if self.search_error.take().is_some() {
                    tracing::info!(
                        event = "pods.search_recovered",
                        "the network namespaces of pods can be found again",
                    );
                }
                self.write();
            }
            ClientEvent::Ended(Err(error)) => {
                self.pace.failed(now);
                if self.search_error.is_none() {
                    tracing::warn!(
                        event = "pods.search_failed",
                        error,
                        "cannot find the network namespaces of pods: the hooks leave new pods alone",
                    );
                }
                self.search_error = Some(error);
            }
        }
    }

    /// Writes to CLIENTS what it should contain, also if another program has changed it.
    fn write(&mut self) {
        let error = self.try_to_write().err().map(|error| error.to_string());
        if let Some(error) = &error
            && self.write_error.is_none()
        {
            tracing::warn!(
                event = "pods.write_failed",
                error,
                "cannot write CLIENTS: the hooks do not serve the pods that are selected",
            );
        }
        self.write_error = error;
    }

    fn try_to_write(&mut self) -> io::Result<()> {
        let present = self.map.all()?;
        let wanted = self.tracker.contents();
        for (&cookie, &value) in &wanted {
            if present.get(&cookie) != Some(&value) {
                self.map.put(cookie, value)?;
            }
        }
        if self.has_searched {
            for cookie in present.into_keys() {
                if !wanted.contains_key(&cookie) {
                    self.map.remove(cookie)?;
                }
            }
        }
        Ok(())
    }

    #[must_use]
    pub fn counts(&self) -> PodCounts {
        self.tracker.counts()
    }

    pub fn problems(&self) -> impl Iterator<Item = Problem> {
        self.tracker.problems().cloned()
    }

    /// Why the sockets in a network namespace are left alone: see [`PodTracker::why_not`].
    #[must_use]
    pub fn why_not(&self, cookie: u64) -> Option<String> {
        self.tracker.why_not(cookie)
    }

    #[must_use]
    pub fn status(&self) -> ClientStatus {
        let PodCounts {
            served,
            not_served,
            not_found,
            host_network,
        } = self.counts();
        let missing = self.tracker.names(PodState::NotFound).take(SHOWN);
        let errors = self.search_error.iter().chain(&self.write_error);
        ClientStatus {
            selection: self.tracker.selection().to_string(),
            served,
            not_served,
            not_found,
            host_network,
            includes_host: self.tracker.selection().includes_host,
            missing: missing.map(ToString::to_string).collect(),
            trouble: errors.cloned().collect(),
        }
    }
}
