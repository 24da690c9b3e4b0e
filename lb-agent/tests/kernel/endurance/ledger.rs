//! The servers that may answer at an address, now and before.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// A set of servers, with one bit for each number.
pub type Set = u32;

/// Represents a refusal among the servers, when there are none.
pub const NOBODY: Set = 1 << 31;

#[derive(Debug)]
pub struct Ledger {
    now: AtomicU32,
    /// The servers that may answer, by the time from which they may.
    times: Mutex<Vec<(Instant, Set)>>,
}

impl Ledger {
    /// No server answers.
    pub fn new() -> Self {
        Self {
            now: AtomicU32::new(NOBODY),
            times: Mutex::new(vec![(Instant::now(), NOBODY)]),
        }
    }

    pub fn now(&self) -> Set {
        self.now.load(Ordering::Acquire)
    }

    /// Makes a change after which these servers may answer. During the change both the old ones and these may.
    pub fn change<T>(&self, to: Set, make: impl FnOnce() -> T) -> T {
        self.note(self.now() | to);
        let made = make();
        self.note(to);
        made
    }

    /// The last time at which a server was allowed to answer, if it no longer is; an error for one that never was.
    pub fn left(&self, one: Set) -> Result<Option<Instant>, String> {
        if self.now() & one != 0 {
            return Ok(None);
        }
        let times = self.times();
        let could = times.iter().rposition(|(_, set)| set & one != 0);
        match could {
            Some(last) => Ok(times.get(last + 1).map(|(at, _)| *at)),
            None => Err("never was to answer".to_owned()),
        }
    }

    fn note(&self, set: Set) {
        let mut times = self.times();
        times.push((Instant::now(), set));
        self.now.store(set, Ordering::Release);
    }

    fn times(&self) -> MutexGuard<'_, Vec<(Instant, Set)>> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
