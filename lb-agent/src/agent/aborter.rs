//! Ends connects that hang: those that wait for an answer of a backend that has just been ejected (`--abort-hanging`). Their
//! owners can then try again at once. Otherwise the kernel gives a connect up after two minutes.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot::error::RecvError;
use tokio::time::Instant;

use super::engine::Engine;
use crate::kernel::EntryReader;
use crate::sockets::{Ability, Answer, Ended, IsStillStale, SocketTarget, SocketsError, Worker};
use crate::tables::{Backing, Named, connections_to};

/// The delays of the searches after an ejection. A connect under way has its entry in ORIGINS before the kernel sends its SYN.
const SEARCHES: [Duration; 2] = [Duration::ZERO, Duration::from_millis(500)];

/// Ends hanging connects.
pub struct Aborter {
    reader: Arc<EntryReader>,
    /// It is asked to, and can.
    is_on: bool,
    /// The searches to come: when, and for connects to which backends.
    due: Vec<(Instant, u32)>,
    under_way: Option<UnderWay>,
    aborted: u64,
    has_failed: bool,
}

struct UnderWay {
    /// By cookie.
    targets: Arc<HashMap<u64, Named>>,
    answer: Answer<Ended>,
}

/// The result of [`Aborter::next`], for [`Aborter::take`].
pub enum AborterEvent {
    Due,
    Ended(Result<Result<Ended, SocketsError>, RecvError>),
}

impl Aborter {
    pub fn new(is_wanted: bool, reader: EntryReader, ability: &Ability) -> Self {
        Self {
            reader: Arc::new(reader),
            is_on: is_wanted && ability.no_end.is_none(),
            due: Vec::new(),
            under_way: None,
            aborted: 0,
            has_failed: false,
        }
    }

    /// The number of connects that were ended since the agent started.
    #[must_use]
    pub const fn aborted(&self) -> u64 {
        self.aborted
    }

    /// A backend was ejected, or stays ejected because its trial failed.
    pub fn ejected(&mut self, backend: u32) {
        if self.is_on {
            let now = Instant::now();
            let searches = SEARCHES.iter().map(|delay| (now + *delay, backend));
            self.due.extend(searches);
        }
    }

    /// Waits for the next event.
    pub async fn next(&mut self) -> AborterEvent {
        let due = self.due.iter().map(|(due, _)| *due).min();
        match (&mut self.under_way, due) {
            (Some(under_way), _) => AborterEvent::Ended((&mut under_way.answer).await),
            (None, Some(due)) => {
                tokio::time::sleep_until(due).await;
                AborterEvent::Due
            }
            (None, None) => std::future::pending().await,
        }
    }

    pub fn take<B: Backing>(&mut self, event: AborterEvent, engine: &Engine<B>, worker: &Worker) {
        let ended = match event {
            AborterEvent::Due => return self.search(engine, worker),
            AborterEvent::Ended(ended) => ended,
        };
        let Some(under_way) = self.under_way.take() else {
            return;
        };
        match ended {
            Ok(Ok(ended)) => self.count(ended, &under_way.targets),
            Ok(Err(error)) => self.fail(&error.to_string()),
            Err(_) => self.fail("the thread for it has ended"),
        }
    }

    fn search<B: Backing>(&mut self, engine: &Engine<B>, worker: &Worker) {
        let now = Instant::now();
        let due = self.due.extract_if(.., |(due, _)| *due <= now);
        let backends = due.map(|(_, backend)| backend).collect();
        let named = match connections_to(engine.tables().backing(), &backends) {
            Ok(named) => named,
            Err(error) => return self.fail(&format!("ORIGINS cannot be read: {error}")),
        };
        if named.is_empty() {
            return;
        }
        let wanted = named.iter().map(|named| SocketTarget {
            cookie: named.cookie,
            protocol: lb_common::TCP,
            peer: named.peer,
            is_connecting: true,
        });
        let wanted = wanted.collect();
        let targets = named.into_iter().map(|named| (named.cookie, named));
        let targets = Arc::new(targets.collect());
        let answer = worker.end(wanted, self.is_still_named(&targets));
        self.under_way = Some(UnderWay { targets, answer });
    }

    /// Whether the entry of a socket still has the same frontend and backend, and the backend is still ejected.
    fn is_still_named(&self, targets: &Arc<HashMap<u64, Named>>) -> IsStillStale {
        let (reader, targets) = (Arc::clone(&self.reader), Arc::clone(targets));
        Arc::new(move |cookie| {
            let (Some(named), Some(pair)) = (targets.get(&cookie), reader.pair(cookie)) else {
                return false;
            };
            pair == named.pair && reader.is_ejected(pair.backend)
        })
    }

    fn count(&mut self, ended: Ended, targets: &HashMap<u64, Named>) {
        self.aborted += ended.tcp.len() as u64;
        let mut counts: HashMap<SocketAddr, usize> = HashMap::new();
        for named in ended.tcp.iter().filter_map(|cookie| targets.get(cookie)) {
            *counts.entry(named.peer).or_default() += 1;
        }
        for (backend, count) in counts {
            tracing::info!(
                event = "sockets.aborted",
                %backend,
                count,
                "ended connects that waited for an ejected backend",
            );
        }
        match ended.failure {
            Some(failure) => self.fail(&failure),
            None => self.has_failed = false,
        }
    }

    fn fail(&mut self, why: &str) {
        if !std::mem::replace(&mut self.has_failed, true) {
            tracing::warn!(
                event = "sockets.abort_failed",
                error = why,
                "cannot end all connects to an ejected backend: some hang until the kernel gives them up",
            );
        }
    }
}
