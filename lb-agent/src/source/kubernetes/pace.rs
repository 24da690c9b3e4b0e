//! Decides when to retry a request to the API server after a failure. Retries are frequent enough that an agent recovers within
//! seconds of the server's return, and spread out enough that thousands of agents do not overwhelm it.
//!
//! * Every wait is random. Agents that lost the server at the same moment do not come back at the same moment.
//! * The watches of one agent take turns: together they send as many requests as one watch would.
//! * A success of one watch wakes the others.
//! * The upper limit of a wait is a quarter of the duration of the trouble, but at least [`FIRST_WAIT`] and at most
//!   [`Failure::longest_wait`]. After a short outage the agent is back at once. A server that keeps refusing gets few requests.
//! * `Retry-After` is respected (RFC 9110, section 10.2.3).

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::catalog::Kind;

/// The upper limit of the first wait. The upper limit of a later wait is never below it.
const FIRST_WAIT: Duration = Duration::from_secs(2);
/// A watch that is woken by the success of another one retries within this time.
const WAKE_WITHIN: Duration = Duration::from_secs(1);
/// A watch whose revision is too old lists all objects again within this time.
const LIST_AGAIN_WITHIN: Duration = Duration::from_millis(500);
/// How often the success of other watches may wake a watch. Without a limit, two watches that keep failing after a good start
/// would keep waking each other.
const WAKE_UPS: u32 = 3;
/// One wake-up is given back each time this has passed.
const WAKE_UP_EVERY: Duration = Duration::from_secs(5);
/// A watch that was open for this long counts as recovered: the next failure is new trouble.
const HELD_FOR: Duration = Duration::from_secs(10);
/// A watch that is open for this long counts as recovered, even if no object changes.
const SETTLED_AFTER: Duration = Duration::from_secs(2);
/// After this many failed connects in a row there is an outage: the next answer comes from a server that is starting.
const OUTAGE: u32 = 3;
/// The longest `Retry-After` that is respected.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(60);
/// The number of watches that an agent has besides the one that retries.
const OTHERS: u32 = 3;

/// The result of a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// There is no connection. Another attempt costs the server nothing: its kernel answers, or there is no answer at all.
    Unreachable,
    /// The server answers, but fails: 5xx, or an answer that is cut off or unreadable.
    Broken,
    /// The server works, but refuses: 4xx, or a certificate that is not accepted.
    Refused,
    /// The server has no record of the events since the watch's revision, so all objects must be listed again. This is usual
    /// after a restart.
    Outdated,
}

impl Failure {
    const fn longest_wait(self) -> Duration {
        Duration::from_secs(match self {
            Self::Unreachable => 3,
            Self::Broken => 6,
            Self::Refused | Self::Outdated => 30,
        })
    }
}

/// The state that the watches of one agent share.
#[derive(Debug)]
pub struct Pace {
    state: Mutex<PaceState>,
    /// The number of successful answers.
    answers: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct PaceState {
    /// For each [`Failure`], the latest retry assigned since the last successful answer.
    last_retries: [Option<Instant>; 4],
    kinds: BTreeMap<Kind, Answers>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Answers {
    /// The time at which the server first accepted the current attempt. A watch that times out continues in the same attempt.
    accepted: Option<Instant>,
    /// The server asked for no request before this time.
    not_before: Option<Instant>,
}

impl Pace {
    pub fn new() -> Self {
        Self {
            state: Mutex::default(),
            answers: watch::Sender::new(0),
        }
    }

    /// Records a successful answer of the server. `is_watch`: the watch of this kind is open now.
    pub fn record_success(&self, kind: Kind, is_watch: bool) {
        let mut state = self.state();
        // This wakes the watches with later retries.
        state.last_retries = Default::default();
        let of_kind = state.kinds.entry(kind).or_default();
        of_kind.not_before = None;
        if is_watch {
            of_kind.accepted.get_or_insert_with(Instant::now);
        }
        drop(state);
        self.answers.send_modify(|number| *number += 1);
    }

    /// Records that the server answered with an error, possibly with a `Retry-After`.
    pub fn record_refusal(&self, kind: Kind, retry_after: Option<Duration>) {
        let not_before = retry_after.map(|time| Instant::now() + time.min(LONGEST_RETRY_AFTER));
        self.state().kinds.entry(kind).or_default().not_before = not_before;
    }

    /// Assigns the time at which a watch may retry: this wait after the watch before it.
    fn assign_retry(&self, failure: Failure, wait: &RangeInclusive<Duration>) -> Instant {
        let now = Instant::now();
        let mut state = self.state();
        let last = &mut state.last_retries[failure as usize];
        // A watch with a longer wait does not delay this one.
        let latest = now + *wait.end() * OTHERS;
        let after = last.map_or(now, |last| last.clamp(now, latest));
        let retry = after + random(wait);
        *last = Some(retry);
        retry
    }

    fn clear_accepted(&self, kind: Kind) {
        self.state().kinds.entry(kind).or_default().accepted = None;
    }

    fn of_kind(&self, kind: Kind) -> Answers {
        self.state().kinds.get(&kind).copied().unwrap_or_default()
    }

    fn state(&self) -> MutexGuard<'_, PaceState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The attempts of one kind's watch.
#[derive(Debug)]
pub struct Attempts {
    pace: Arc<Pace>,
    kind: Kind,
    answers: watch::Receiver<u64>,
    /// When the current attempt began.
    began: Instant,
    trouble: Option<Trouble>,
    wake_ups: WakeUps,
}

/// Failures since the last success that lasted.
#[derive(Clone, Copy, Debug)]
struct Trouble {
    since: Instant,
    last: Failure,
    /// How often the last failure has occurred in sequence.
    in_sequence: u32,
}

/// How often a watch may still be woken.
#[derive(Debug)]
struct WakeUps {
    left: u32,
    /// The time at which the last wake-up was given back.
    since: Instant,
}

impl WakeUps {
    fn new() -> Self {
        Self {
            left: WAKE_UPS,
            since: Instant::now(),
        }
    }

    fn are_available(&mut self) -> bool {
        while self.left < WAKE_UPS && self.since.elapsed() >= WAKE_UP_EVERY {
            self.left += 1;
            self.since += WAKE_UP_EVERY;
        }
        self.left > 0
    }

    fn take(&mut self) {
        if self.left == WAKE_UPS {
            self.since = Instant::now();
        }
        self.left = self.left.saturating_sub(1);
    }
}

impl Attempts {
    pub fn new(pace: Arc<Pace>, kind: Kind) -> Self {
        Self {
            answers: pace.answers.subscribe(),
            pace,
            kind,
            began: Instant::now(),
            trouble: None,
            wake_ups: WakeUps::new(),
        }
    }

    /// Waits until it is time for the next attempt.
    pub async fn pause(&mut self, failure: Failure) {
        let wait = self.wait_after(failure);
        let is_first = self.trouble.is_none_or(|trouble| trouble.in_sequence == 1);
        let retry = if failure == Failure::Outdated && is_first {
            // Each watch requests its own list, so they need not be spread further.
            Instant::now() + random(&(Duration::ZERO..=LIST_AGAIN_WITHIN))
        } else {
            self.pace.assign_retry(failure, &wait)
        };
        let not_before = self.pace.of_kind(self.kind).not_before;
        self.pace.clear_accepted(self.kind);
        let asked_for = not_before.map(|time| time + random(&(Duration::ZERO..=FIRST_WAIT)));
        let next = asked_for.map_or(retry, |time| retry.max(time));
        let is_long = next > Instant::now() + WAKE_WITHIN;
        let may_be_woken = is_long && self.wake_ups.are_available();
        tokio::select! {
            () = sleep_until(next) => {}
            Ok(()) = self.answers.changed(), if may_be_woken => {
                let now = Instant::now();
                self.wake_ups.take();
                let soon = now + random(&(Duration::ZERO..=WAKE_WITHIN));
                let soon = asked_for.map_or(soon, |time| soon.max(time));
                sleep_until(soon.min(next)).await;
            }
        }
        self.answers.borrow_and_update();
        self.began = Instant::now();
    }

    /// Whether the server accepted the watch in this attempt, some time ago.
    pub fn has_settled(&self) -> bool {
        self.was_accepted_for(SETTLED_AFTER)
    }

    /// When the current attempt began.
    pub const fn began(&self) -> Instant {
        self.began
    }

    fn was_accepted_for(&self, time: Duration) -> bool {
        let accepted = self.pace.of_kind(self.kind).accepted;
        accepted.is_some_and(|at| at.elapsed() >= time)
    }

    fn wait_after(&mut self, failure: Failure) -> RangeInclusive<Duration> {
        let now = Instant::now();
        if self.was_accepted_for(Duration::ZERO) {
            // The success of other watches before this moment is not news.
            self.answers.borrow_and_update();
        }
        if self.was_accepted_for(HELD_FOR) {
            self.trouble = None;
        }
        let first = Duration::ZERO..=FIRST_WAIT;
        let Some(trouble) = &mut self.trouble else {
            self.trouble = Some(Trouble {
                since: now,
                last: failure,
                in_sequence: 1,
            });
            return first;
        };
        let was_outage = trouble.last == Failure::Unreachable && trouble.in_sequence >= OUTAGE;
        if trouble.last == failure {
            trouble.in_sequence += 1;
        } else {
            trouble.last = failure;
            trouble.in_sequence = 1;
            if was_outage {
                trouble.since = now;
                return first;
            }
        }
        let longest = (now - trouble.since) / 4;
        let longest = longest.clamp(FIRST_WAIT, failure.longest_wait());
        longest / 2..=longest
    }
}

fn random(range: &RangeInclusive<Duration>) -> Duration {
    let span = *range.end() - *range.start();
    *range.start() + span.mul_f64(fastrand::f64())
}

#[cfg(test)]
mod tests;
