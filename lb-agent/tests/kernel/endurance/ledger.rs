//! Who may answer at an address, now and before.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Servers, a bit for each, by their numbers.
pub type Set = u32;

/// Stands among the servers for a refusal, since there is nobody.
pub const NOBODY: Set = 1 << 31;

#[derive(Debug)]
pub struct Ledger {
    now: AtomicU32,
    /// Who might answer from when on.
    times: Mutex<Vec<(Instant, Set)>>,
}

impl Ledger {
    /// Nobody answers.
    pub fn new() -> Self {
        Self {
            now: AtomicU32::new(NOBODY),
            times: Mutex::new(vec![(Instant::now(), NOBODY)]),
        }
    }

    pub fn now(&self) -> Set {
        self.now.load(Ordering::Acquire)
    }

    /// Makes a change after which these may answer. While it is made the old ones may, and these too.
    pub fn change<T>(&self, to: Set, make: impl FnOnce() -> T) -> T {
        self.note(self.now() | to);
        let made = make();
        self.note(to);
        made
    }

    /// When one could last answer, if that is over; an error for one that never could.
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
