//! The search for the network namespaces of pods, which the thread `sockets` makes, and when to search.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot::error::RecvError;

use crate::kernel;
use crate::sockets::{PodSearch, SocketsError};

/// The pause between two searches that changes of pods cause: they come in bursts.
const CALM: Duration = Duration::from_millis(50);
/// The first pause between two searches for the same pods. It doubles each time.
const SHORTEST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(5);
/// How often to search for all pods, since a pod may get another namespace when its sandbox is made again.
const CHECK_EVERY: Duration = Duration::from_secs(60);

/// A search for pods with these UIDs.
pub fn of(cgroup: PathBuf, uids: HashSet<Arc<str>>) -> PodSearch {
    PodSearch {
        cgroup,
        uids,
        cookie,
    }
}

fn cookie() -> io::Result<u64> {
    kernel::network_cookie().map_err(io::Error::other)
}

/// The result of a search, or why there is none.
pub fn answer(
    result: Result<Result<HashMap<Arc<str>, u64>, SocketsError>, RecvError>,
) -> Result<HashMap<Arc<str>, u64>, String> {
    match result {
        Ok(found) => found.map_err(|error| error.to_string()),
        Err(_) => Err("the thread that enters network namespaces has ended".to_owned()),
    }
}

/// When to search.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    last: Instant,
    /// After the last search, until the next one for pods that it did not find.
    pause: Duration,
    last_check: Instant,
}

impl Pace {
    pub const fn new(now: Instant) -> Self {
        Self {
            last: now,
            pause: SHORTEST,
            last_check: now,
        }
    }

    /// When the next search is due.
    ///
    /// `has_due`, `has_missing`: see [`super::tracker::PodTracker`].
    pub fn next(&self, has_due: bool, has_missing: bool) -> Instant {
        let pause = match (has_due, has_missing) {
            (true, _) => CALM,
            (false, true) => self.pause,
            (false, false) => CHECK_EVERY,
        };
        (self.last + pause).min(self.last_check + CHECK_EVERY)
    }

    /// Whether to search for all pods now. If so, that counts as done.
    pub fn checks_all(&mut self, now: Instant) -> bool {
        let is_due = now >= self.last_check + CHECK_EVERY;
        if is_due {
            self.last_check = now;
        }
        is_due
    }

    /// Pods have changed.
    pub const fn hurry(&mut self) {
        self.pause = SHORTEST;
    }

    /// `is_new`: the search has found what was missing.
    pub fn searched(&mut self, now: Instant, is_new: bool) {
        self.last = now;
        self.pause = match is_new {
            true => SHORTEST,
            false => (2 * self.pause).min(LONGEST),
        };
    }

    pub const fn failed(&mut self, now: Instant) {
        self.last = now;
        self.pause = LONGEST;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_pods_are_searched_for_less_and_less_until_pods_change() {
        let began = Instant::now();
        let mut pace = Pace::new(began);
        let mut pauses = Vec::new();
        let mut now = began;
        for _ in 0..7 {
            let next = pace.next(false, true);
            pauses.push((next - now).as_millis());
            now = next;
            pace.searched(now, false);
        }
        assert_eq!(pauses, [200, 400, 800, 1600, 3200, 5000, 5000]);
        pace.hurry();
        assert_eq!(pace.next(false, true) - now, SHORTEST);
        assert_eq!(pace.next(true, true) - now, CALM);
    }

    #[test]
    fn all_pods_are_searched_for_each_minute() {
        let began = Instant::now();
        let mut pace = Pace::new(began);
        pace.searched(began + CALM, true);
        let next = pace.next(false, false);
        assert_eq!(next, began + CHECK_EVERY);
        assert!(!pace.checks_all(began + CALM));
        assert!(pace.checks_all(next));
        assert!(!pace.checks_all(next));
    }
}
