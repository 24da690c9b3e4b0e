//! Ends sockets whose backends have stopped serving. [`crate::tables::Stale`] selects them, [`crate::sockets`] ends
//! them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot::error::RecvError;
use tokio::time::Instant;

use super::drains::{DrainMetrics, Drains, Fate};
use super::engine::Engine;
use crate::kernel::EntryReader;
use crate::serve::TerminationStatus;
use crate::sockets::{
    Ability, Answer, Ended, EndedCounts, IsStillStale, SocketMetrics, SocketTarget, SocketsError,
    Worker,
};
use crate::tables::{Backing, Stale, Stops, has_stopped};

/// The delay between a change and the search, so that one search covers all backends that stop within this time.
const GATHER: Duration = Duration::from_millis(100);

/// The delays of further searches. A `connect` under way has its entry in ORIGINS before the kernel stores the peer of
/// the socket.
const AGAIN: [Duration; 2] = [Duration::from_millis(400), Duration::from_millis(1_500)];

/// When to search, and the search under way.
pub struct Terminator {
    settings: TerminatorSettings,
    reader: Arc<EntryReader>,
    ability: Ability,
    drains: Drains,
    /// When to look at the connections that drain.
    drains_due: Option<Instant>,
    noticed: Option<Noticed>,
    due: Option<Instant>,
    /// The number of searches since the last change.
    searches: usize,
    last_search: Instant,
    under_way: Option<UnderWay>,
    /// The searched sockets that still have their entries, by cookie.
    searched: HashMap<u64, SearchedSocket>,
    /// No search starts before this time. A pause after each search lasts as long as the search, so that the thread is
    /// idle half of the time whatever the rate of changes.
    idle_until: Instant,
    has_failed: bool,
    counts: EndedCounts,
}

#[derive(Clone, Copy, Debug)]
pub struct TerminatorSettings {
    /// End TCP connections too, at once unless their Service has a drain time.
    pub tcp: bool,
    /// Services have a drain time by default.
    pub drains: bool,
    /// How often to search without a change.
    pub every: Duration,
}

/// What causes a search when it changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Noticed {
    stops: Stops,
    drain_changes: u64,
}

struct UnderWay {
    since: Instant,
    /// By cookie.
    targets: Arc<HashMap<u64, Stale>>,
    answer: Answer<Ended>,
}

/// A searched socket, and the number of searches for it. A socket that was ended, or that reached the limit of
/// searches, is skipped until it changes: it may be unconnected, or out of reach of any search.
struct SearchedSocket {
    stale: Stale,
    searches: usize,
}

/// The limit of searches for one socket.
const MOST_SEARCHES: usize = 1 + AGAIN.len();

/// When to look again at connections that drain if their entries cannot be read.
const LATER: Duration = Duration::from_secs(5);

/// Far longer than a search takes: the thread then waits for the lock of a socket that another thread holds.
const STUCK: Duration = Duration::from_secs(60);

/// The result of [`Terminator::next`], for [`Terminator::take`].
pub enum TerminatorEvent {
    Due,
    Ended(Result<Result<Ended, SocketsError>, RecvError>),
}

impl Terminator {
    pub fn new(settings: TerminatorSettings, reader: EntryReader, ability: &Ability) -> Self {
        Self {
            settings,
            reader: Arc::new(reader),
            ability: ability.clone(),
            drains: Drains::new(settings.tcp),
            drains_due: None,
            noticed: None,
            due: None,
            searches: 0,
            last_search: Instant::now(),
            under_way: None,
            searched: HashMap::new(),
            idle_until: Instant::now(),
            has_failed: false,
            counts: EndedCounts::default(),
        }
    }

    /// Logs once what this agent cannot do, and the consequences.
    pub fn log_limits(&self) {
        let protocols = if self.settings.tcp || self.settings.drains {
            "UDP and TCP"
        } else {
            "UDP"
        };
        if let Some(lack) = &self.ability.no_end {
            tracing::warn!(
                event = "sockets.end_not_possible",
                protocols,
                error = %lack,
                "cannot end sockets: they stay connected to backends that have stopped serving until their owners connect again",
            );
        } else if let Some(lack) = &self.ability.no_reach {
            tracing::warn!(
                event = "sockets.end_only_own_namespace",
                protocols,
                error = %lack,
                "cannot end sockets of pods: they stay connected to backends that have stopped serving until their owners \
                 connect again",
            );
        }
    }

    /// Schedules a search if a backend has stopped since the last call, or a Service has changed its drain time. The first call
    /// counts as a change, since backends may have stopped while no agent ran. Call it when the tables are up to date.
    pub fn notice<B: Backing>(&mut self, engine: &Engine<B>) {
        let stops = engine.tables().stops();
        let noticed = Noticed {
            stops: Stops {
                tcp: match self.wants_tcp(engine) {
                    true => stops.tcp,
                    false => 0,
                },
                ..stops
            },
            drain_changes: engine.graces().changes(),
        };
        if self.ability.no_end.is_some() || self.noticed.replace(noticed) == Some(noticed) {
            return;
        }
        self.searches = 0;
        self.search_within(GATHER);
    }

    fn search_within(&mut self, delay: Duration) {
        let soon = Instant::now() + delay;
        self.due = Some(self.due.map_or(soon, |due| due.min(soon)));
    }

    const fn wants_tcp<B: Backing>(&self, engine: &Engine<B>) -> bool {
        self.settings.tcp || engine.graces().is_asked()
    }

    /// Schedules the regular search, which finds sockets that earlier ones missed. Call it every second.
    pub fn tick(&mut self) {
        let since = self.under_way.as_ref().map(|under_way| under_way.since);
        if since.is_some_and(|since| since.elapsed() >= STUCK) && !self.has_failed {
            self.fail(1, "the thread that ends sockets has not come back");
        }
        let is_idle = self.due.is_none() && self.under_way.is_none() && self.noticed.is_some();
        if is_idle && self.last_search.elapsed() >= self.settings.every {
            self.searched.clear();
            self.searches = AGAIN.len();
            self.due = Some(Instant::now());
        }
    }

    /// Waits for the next event.
    pub async fn next(&mut self) -> TerminatorEvent {
        let due = self.due.into_iter().chain(self.drains_due).min();
        match (&mut self.under_way, due) {
            (Some(under_way), _) => TerminatorEvent::Ended((&mut under_way.answer).await),
            (None, Some(due)) => {
                tokio::time::sleep_until(due.max(self.idle_until)).await;
                TerminatorEvent::Due
            }
            (None, None) => std::future::pending().await,
        }
    }

    pub fn take<B: Backing>(&mut self, step: TerminatorEvent, engine: &Engine<B>, worker: &Worker) {
        match step {
            TerminatorEvent::Due => self.search(engine, worker),
            TerminatorEvent::Ended(ended) => {
                let Some(under_way) = self.under_way.take() else {
                    return;
                };
                self.idle_until = Instant::now() + under_way.since.elapsed();
                match ended {
                    Ok(Ok(ended)) => self.count(ended, &under_way.targets),
                    Ok(Err(error)) => self.fail(1, &error.to_string()),
                    Err(_) => self.fail(1, "the thread for it has ended"),
                }
            }
        }
    }

    pub fn update(&self, metrics: &SocketMetrics, drains: &DrainMetrics) {
        metrics.update(&self.ability, self.counts);
        drains.update(self.drains.draining());
    }

    pub fn status(&self) -> TerminationStatus {
        let Ability {
            no_end, no_reach, ..
        } = &self.ability;
        let draining = self.drains.draining();
        TerminationStatus {
            own_namespace: self.ability.includes_own_namespace(),
            other_namespaces: self.ability.includes_other_namespaces(),
            lack: no_end
                .as_ref()
                .or(no_reach.as_ref())
                .map(ToString::to_string),
            includes_tcp: self.settings.tcp,
            udp: self.counts.udp,
            tcp: self.counts.tcp,
            draining_backends: draining.backends,
            draining_connections: draining.connections,
            failures: self.counts.failures,
        }
    }

    fn search<B: Backing>(&mut self, engine: &Engine<B>, worker: &Worker) {
        let now = Instant::now();
        if self.due.is_some_and(|due| due <= now) {
            self.last_search = now;
            self.due = AGAIN.get(self.searches).map(|&after| now + after);
            self.searches += 1;
        }
        let wants_tcp = self.wants_tcp(engine);
        let stale = match engine.tables().stale(wants_tcp) {
            Ok(stale) => stale,
            Err(error) => {
                self.drains_due = self.drains_due.map(|_| now + LATER);
                return self.fail(1, &format!("ORIGINS cannot be read: {error}"));
            }
        };
        let tcp: Vec<Stale> = stale.iter().copied().filter(Stale::is_tcp).collect();
        let fates = match engine.graces().is_asked() {
            true => {
                let (fates, due) = self.drains.look(now, &tcp, &engine.grace_rules());
                self.drains_due = due;
                fates
            }
            false => HashMap::new(),
        };
        let mut before = std::mem::take(&mut self.searched);
        let mut targets = HashMap::new();
        for stale in stale {
            let same = before.remove(&stale.cookie).filter(|t| t.stale == stale);
            let mut searches = same.map_or(0, |searched| searched.searches);
            let is_target = match fates.get(&stale.cookie) {
                None | Some(Fate::AtOnce) => {
                    searches = searches.saturating_add(1);
                    searches <= MOST_SEARCHES
                }
                Some(Fate::Due) => true,
                Some(Fate::Kept | Fate::Later) => false,
            };
            if is_target {
                targets.insert(stale.cookie, stale);
            }
            self.searched
                .insert(stale.cookie, SearchedSocket { stale, searches });
        }
        if targets.is_empty() {
            return;
        }
        let wanted = targets.values().map(|stale| SocketTarget {
            cookie: stale.cookie,
            protocol: stale.protocol,
            peer: stale.peer,
            is_connecting: false,
        });
        let wanted = wanted.collect();
        let targets = Arc::new(targets);
        let answer = worker.end(wanted, self.is_still_stale(&targets));
        self.under_way = Some(UnderWay {
            since: now,
            targets,
            answer,
        });
    }

    /// Whether the entry of a socket still has the same frontend and backend, and the backend still does not serve.
    fn is_still_stale(&self, targets: &Arc<HashMap<u64, Stale>>) -> IsStillStale {
        let (reader, targets) = (Arc::clone(&self.reader), Arc::clone(targets));
        Arc::new(move |cookie| {
            let (Some(stale), Some(pair)) = (targets.get(&cookie), reader.pair(cookie)) else {
                return false;
            };
            (pair.frontend, pair.backend) == (stale.pair.frontend, stale.pair.backend)
                && has_stopped(reader.state(pair.backend))
        })
    }

    fn count(&mut self, ended: Ended, targets: &HashMap<u64, Stale>) {
        let now = Instant::now();
        let (udp, tcp) = (ended.udp.len(), ended.tcp.len());
        self.counts.udp += udp as u64;
        self.counts.tcp += tcp as u64;
        let of_tcp = ended.tcp.iter().filter_map(|cookie| targets.get(cookie));
        let drained = of_tcp.filter(|of| self.drains.ended(now, of)).count();
        // Those that drained are reported when all of their backend are.
        let sockets = [(udp, "UDP"), (tcp.saturating_sub(drained), "TCP")];
        for (count, protocol) in sockets.into_iter().filter(|&(count, _)| count > 0) {
            tracing::info!(
                event = "sockets.ended",
                protocol,
                count,
                "ended sockets whose backends have stopped serving",
            );
        }
        match ended.failure {
            Some(failure) => self.fail(ended.failures, &failure),
            None => self.has_failed = false,
        }
        // An ended socket keeps its entry until its owner closes it or connects again.
        for cookie in ended.udp.iter().chain(&ended.tcp) {
            if let Some(searched) = self.searched.get_mut(cookie) {
                searched.searches = MOST_SEARCHES;
            }
        }
    }

    fn fail(&mut self, failures: u64, why: &str) {
        self.counts.failures += failures;
        if !std::mem::replace(&mut self.has_failed, true) {
            tracing::warn!(
                event = "sockets.end_failed",
                error = why,
                "cannot end all sockets: some may stay connected to backends that have stopped serving",
            );
        }
    }
}
