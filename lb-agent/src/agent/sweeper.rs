//! Searches regularly for sockets that have an entry in the tables and are closed, since some close without running a
//! hook.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use crate::sockets::{Answer, Worker};
use crate::tables::{Backing, Tables, Usage};

/// How often to check how full ORIGINS and SPILL are. If they are nearly full, a sweep comes early.
const CHECK_USAGE_EVERY: Duration = Duration::from_secs(30);

/// An entry exists before the kernel lists its socket, since `connect` runs the hooks first.
const SETTLES_WITHIN: Duration = Duration::from_secs(1);

/// When to sweep, and the sweep under way.
#[derive(Debug)]
pub struct Sweeper {
    every: Duration,
    last_sweep: Instant,
    last_usage_check: Instant,
    /// The sockets that had an entry when the sweep began.
    holders: Option<(Instant, HashSet<u64>)>,
    under_way: Option<Answer<HashSet<u64>>>,
    has_failed: bool,
    /// How full ORIGINS and SPILL were at the last check.
    pub entry_usage: Option<[Usage; 2]>,
}

impl Sweeper {
    pub fn new(every: Duration) -> Self {
        let now = Instant::now();
        Self {
            every,
            last_sweep: now,
            last_usage_check: now,
            holders: None,
            under_way: None,
            has_failed: false,
            entry_usage: None,
        }
    }

    /// Begins a sweep if one is due, or starts the search of the sweep under way. Call it every second.
    pub fn tick<B: Backing>(&mut self, tables: &Tables<B>, worker: &Worker) {
        if self.under_way.is_some() {
            return;
        }
        if let Some((since, _)) = &self.holders {
            if since.elapsed() >= SETTLES_WITHIN {
                self.under_way = self.holders.take().map(|(_, of)| worker.find_closed(of));
            }
            return;
        }
        if !self.is_due(tables) {
            return;
        }
        self.last_sweep = Instant::now();
        match tables.cookies() {
            Ok(holders) if holders.is_empty() => {}
            Ok(holders) => self.holders = Some((self.last_sweep, holders)),
            Err(error) => tracing::warn!(
                event = "sweep.skipped",
                %error,
                "cannot read ORIGINS: skipping a sweep",
            ),
        }
    }

    fn is_due<B: Backing>(&mut self, tables: &Tables<B>) -> bool {
        let is_time = self.last_sweep.elapsed() >= self.every;
        if self.last_usage_check.elapsed() < CHECK_USAGE_EVERY {
            return is_time;
        }
        self.last_usage_check = Instant::now();
        let usage = tables.entries_in_use();
        self.entry_usage = Some(usage);
        is_time || usage.iter().any(|usage| usage.is_above(75))
    }

    /// Returns the closed sockets when the search under way has ended.
    pub async fn closed(&mut self) -> HashSet<u64> {
        let result = match &mut self.under_way {
            Some(answer) => answer.await,
            None => std::future::pending().await,
        };
        self.under_way = None;
        let error = match result {
            Ok(Ok(closed)) => {
                self.has_failed = false;
                return closed;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the thread that asks about sockets has ended".to_owned(),
        };
        if !std::mem::replace(&mut self.has_failed, true) {
            tracing::warn!(
                event = "sweep.not_possible",
                error,
                "cannot list all sockets: those that closed without running a hook stay in the active counts",
            );
        }
        HashSet::new()
    }
}
