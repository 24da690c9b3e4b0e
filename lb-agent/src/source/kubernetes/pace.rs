//! When to ask the API server again after a failure: soon enough that an agent follows within seconds of the server's
//! return, and spread out enough that thousands of agents do not overwhelm it.
//!
//! * Every wait is random. Agents that lost the server at the same moment do not come back at the same moment.
//! * The watches of one agent take turns: together they ask as often as one would.
//! * A success of one watch wakes the others.
//! * A wait is at most a quarter of the time for which there was trouble, at least [`FIRST_WAIT`], and at most
//!   [`Failure::longest_wait`]. After a short outage the agent is back at once; a server that keeps refusing is asked rarely.
//! * `Retry-After` is respected (RFC 9110, section 10.2.3).

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::catalog::Kind;

/// The first wait takes at most this long, and no later one has a lower limit.
const FIRST_WAIT: Duration = Duration::from_secs(2);
/// A watch that another one's success wakes asks within this time.
const WAKE_WITHIN: Duration = Duration::from_secs(1);
/// A watch whose revision is too old lists all again within this time.
const LIST_AGAIN_WITHIN: Duration = Duration::from_millis(500);
/// So often other watches' successes wake a watch: otherwise two that keep failing after a good start would keep each other
/// awake.
const WAKE_UPS: u32 = 3;
/// And once more for each time that has passed.
const WAKE_UP_EVERY: Duration = Duration::from_secs(5);
/// A watch that was open for this long was well; what fails next is new trouble.
const HELD_FOR: Duration = Duration::from_secs(10);
/// A watch that is open for this long is well even if no object changes.
const SETTLED_AFTER: Duration = Duration::from_secs(2);
/// So many failed connects in a row are an outage: the first answer afterwards comes from a server that is starting.
const OUTAGE: u32 = 3;
/// The longest `Retry-After` that is respected.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(60);
/// How many watches an agent has besides the one that asks for its turn.
const OTHERS: u32 = 3;

/// What came of an attempt that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// There is no connection. Another attempt costs the server nothing: its kernel answers, or nobody does.
    Unreachable,
    /// The server answers, and is not well: 5xx, an answer that stops or that cannot be read.
    Broken,
    /// The server is well, and refuses: 4xx, a certificate that is not accepted.
    Refused,
    /// The server does not know what happened since the watch's revision: all is to be listed again. Usual after a restart.
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

/// What the watches of one agent know together.
#[derive(Debug)]
pub struct Pace {
    state: Mutex<PaceState>,
    /// The number of good answers.
    answers: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct PaceState {
    /// The latest turn that was given since the last good answer, for each [`Failure`].
    turns: [Option<Instant>; 4],
    kinds: BTreeMap<Kind, Answers>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Answers {
    /// When the current attempt was first let in; a watch whose time is over goes on in the same attempt.
    let_in: Option<Instant>,
    /// The server does not want to be asked before.
    not_before: Option<Instant>,
}

impl Pace {
    pub fn new() -> Self {
        Self {
            state: Mutex::default(),
            answers: watch::Sender::new(0),
        }
    }

    /// The server gave a good answer. `is_watch`: the watch of this kind is open now.
    pub fn answered(&self, kind: Kind, is_watch: bool) {
        let mut state = self.state();
        // Those who had later ones are woken.
        state.turns = Default::default();
        let of_kind = state.kinds.entry(kind).or_default();
        of_kind.not_before = None;
        if is_watch {
            of_kind.let_in.get_or_insert_with(Instant::now);
        }
        drop(state);
        self.answers.send_modify(|number| *number += 1);
    }

    /// The server answered with an error, and perhaps with a `Retry-After`.
    pub fn refused(&self, kind: Kind, retry_after: Option<Duration>) {
        let not_before = retry_after.map(|time| Instant::now() + time.min(LONGEST_RETRY_AFTER));
        self.state().kinds.entry(kind).or_default().not_before = not_before;
    }

    /// When a watch may ask that waits this long after the one before it.
    fn turn(&self, failure: Failure, wait: &RangeInclusive<Duration>) -> Instant {
        let now = Instant::now();
        let mut state = self.state();
        let last = &mut state.turns[failure as usize];
        // Whoever waits longer than this one wants to does not hold it up.
        let latest = now + *wait.end() * OTHERS;
        let after = last.map_or(now, |last| last.clamp(now, latest));
        let turn = after + random(wait);
        *last = Some(turn);
        turn
    }

    fn forget_let_in(&self, kind: Kind) {
        self.state().kinds.entry(kind).or_default().let_in = None;
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

/// Failures without a success that lasted.
#[derive(Clone, Copy, Debug)]
struct Trouble {
    since: Instant,
    last: Failure,
    /// How often the last one has come in sequence.
    in_sequence: u32,
}

/// How often a watch may still be woken.
#[derive(Debug)]
struct WakeUps {
    left: u32,
    /// When the last one was given back.
    since: Instant,
}

impl WakeUps {
    fn new() -> Self {
        Self {
            left: WAKE_UPS,
            since: Instant::now(),
        }
    }

    fn are_left(&mut self) -> bool {
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
        let turn = if failure == Failure::Outdated && is_first {
            // Each watch has its own list to ask for.
            Instant::now() + random(&(Duration::ZERO..=LIST_AGAIN_WITHIN))
        } else {
            self.pace.turn(failure, &wait)
        };
        let not_before = self.pace.of_kind(self.kind).not_before;
        self.pace.forget_let_in(self.kind);
        let asked_for = not_before.map(|time| time + random(&(Duration::ZERO..=FIRST_WAIT)));
        let next = asked_for.map_or(turn, |time| turn.max(time));
        let is_long = next > Instant::now() + WAKE_WITHIN;
        let may_be_woken = is_long && self.wake_ups.are_left();
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

    /// Whether the watch was let in by this attempt, some time ago.
    pub fn has_settled(&self) -> bool {
        self.was_let_in_for(SETTLED_AFTER)
    }

    /// When the current attempt began.
    pub const fn began(&self) -> Instant {
        self.began
    }

    fn was_let_in_for(&self, time: Duration) -> bool {
        let let_in = self.pace.of_kind(self.kind).let_in;
        let_in.is_some_and(|at| at.elapsed() >= time)
    }

    fn wait_after(&mut self, failure: Failure) -> RangeInclusive<Duration> {
        let now = Instant::now();
        if self.was_let_in_for(Duration::ZERO) {
            // That others were let in too is no news.
            self.answers.borrow_and_update();
        }
        if self.was_let_in_for(HELD_FOR) {
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
