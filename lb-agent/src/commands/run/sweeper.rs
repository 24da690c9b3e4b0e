//! Asks now and then which sockets have a place in the tables and are gone: some end where no hook sees it.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use crate::sockets::{self, SocketsError};
use crate::tables::{Backing, Tables};

/// How often to look whether places are running out; then a sweep comes before its time.
const LOOK_FOR_CROWD: Duration = Duration::from_secs(30);

/// A place is taken before the kernel lists its socket (`connect` runs the hooks first).
const SETTLES_WITHIN: Duration = Duration::from_secs(1);

/// When to sweep, and the sweep under way.
#[derive(Debug)]
pub struct Sweeper {
    every: Duration,
    last_sweep: Instant,
    last_look: Instant,
    under_way: Option<JoinHandle<Result<HashSet<u64>, SocketsError>>>,
    has_failed: bool,
}

impl Sweeper {
    pub fn new(every: Duration) -> Self {
        let now = Instant::now();
        Self {
            every,
            last_sweep: now,
            last_look: now,
            under_way: None,
            has_failed: false,
        }
    }

    /// Begins a sweep if it is time; to be called every second.
    pub fn tick<B: Backing>(&mut self, tables: &Tables<B>) {
        if self.under_way.is_some() || !self.is_due(tables) {
            return;
        }
        self.last_sweep = Instant::now();
        match tables.holders() {
            Ok(holders) if holders.is_empty() => {}
            Ok(holders) => {
                self.under_way = Some(tokio::task::spawn_blocking(move || {
                    std::thread::sleep(SETTLES_WITHIN);
                    sockets::gone(holders)
                }));
            }
            Err(error) => tracing::warn!("ORIGINS cannot be read, nothing is swept: {error}"),
        }
    }

    fn is_due<B: Backing>(&mut self, tables: &Tables<B>) -> bool {
        if self.last_sweep.elapsed() >= self.every {
            return true;
        }
        if self.last_look.elapsed() < LOOK_FOR_CROWD {
            return false;
        }
        self.last_look = Instant::now();
        tables.is_crowded()
    }

    /// The sockets that are gone, once a sweep under way knows them.
    pub async fn gone(&mut self) -> HashSet<u64> {
        let result = match &mut self.under_way {
            Some(task) => task.await,
            None => std::future::pending().await,
        };
        self.under_way = None;
        let error = match result {
            Ok(Ok(gone)) => {
                self.has_failed = false;
                return gone;
            }
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        if !std::mem::replace(&mut self.has_failed, true) {
            tracing::warn!(
                "sockets that ended unseen (subflows of MPTCP, the kernel's own) go on being counted as active: {error}"
            );
        }
        HashSet::new()
    }
}
