//! Time limits of tests. A limit does not count the time in which the test waited for a CPU: see [`crate::starvation`].

use std::time::{Duration, Instant};
use std::{env, fmt, io};

use crate::starvation::{self, delay_of};

/// A whole number by which all time limits are multiplied, for emulated machines.
const VARIABLE: &str = "SOCKLB_TEST_PATIENCE";

/// Largest factor by which starvation extends a limit, so that every wait ends.
const AT_MOST: u32 = 20;

/// A time limit of a test, as long as this machine needs it to be.
pub fn stretched(limit: Duration) -> Duration {
    limit * factor(env::var(VARIABLE).ok().as_deref())
}

/// A limit beyond every [`Deadline`] of this length.
pub(crate) fn longest(limit: Duration) -> Duration {
    stretched(limit) * AT_MOST
}

/// The end of a time limit. It moves back by the time in which a thread of this process, or of a child process, waits for a CPU.
///
/// Its text gives the limit and whether the operation was slow or the machine was too busy:
/// `10 s: slow: 10.4 s passed, of which a thread waited for a CPU for 0.2 s`.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    limit: Duration,
    began: Instant,
    /// The thread that created it, and how long that thread had waited for a CPU before.
    thread: Option<(u32, Duration)>,
}

impl Deadline {
    /// `limit` from now, stretched where the machine is emulated.
    pub fn within(limit: Duration) -> Self {
        starvation::record();
        Self {
            limit: stretched(limit),
            began: Instant::now(),
            thread: delay_of(None),
        }
    }

    /// Whether the time is over.
    pub fn is_over(&self) -> bool {
        let passed = self.began.elapsed();
        // Most operations end in time and need no measuring.
        passed > self.limit && self.verdict_after(passed) != Verdict::InTime
    }

    fn verdict_after(&self, passed: Duration) -> Verdict {
        verdict(self.limit, passed, self.starved())
    }

    /// How long this process, or the creating thread, has waited for a CPU.
    fn starved(&self) -> Duration {
        let own = self.thread.and_then(|(id, before)| {
            let (_, now) = delay_of(Some(id))?;
            Some(now.saturating_sub(before))
        });
        starvation::starved_since(self.began).max(own.unwrap_or_default())
    }
}

impl fmt::Display for Deadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (passed, starved) = (self.began.elapsed(), self.starved());
        let word = match verdict(self.limit, passed, starved) {
            Verdict::InTime => "not over",
            Verdict::Slow => "slow",
            Verdict::Starved => "starved",
        };
        write!(
            f,
            "{:?}: {word}: {:.1} s passed, of which a thread waited for a CPU for {:.1} s",
            self.limit,
            passed.as_secs_f64(),
            starved.as_secs_f64()
        )
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    InTime,
    /// It had enough CPU time.
    Slow,
    /// The machine is too busy for a verdict.
    Starved,
}

fn verdict(limit: Duration, passed: Duration, starved: Duration) -> Verdict {
    if passed.saturating_sub(starved) > limit {
        return Verdict::Slow;
    }
    if passed > limit * AT_MOST {
        return Verdict::Starved;
    }
    Verdict::InTime
}

/// Repeats a call on a socket while it ends with the socket's own time limit (EAGAIN), until `limit` has passed since the first such
/// error.
///
/// # Errors
/// The call's own, or [`io::ErrorKind::TimedOut`].
pub fn patiently<T>(limit: Duration, mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let mut deadline: Option<Deadline> = None;
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let deadline = deadline.get_or_insert_with(|| Deadline::within(limit));
                if deadline.is_over() {
                    let why = format!("no answer within {deadline}");
                    return Err(io::Error::new(io::ErrorKind::TimedOut, why));
                }
            }
            other => return other,
        }
    }
}

/// Whether a failed attempt that began then was starved for most of its time, so that a test may repeat it.
pub fn was_starved(began: Instant) -> bool {
    let passed = began.elapsed();
    passed > Duration::from_secs(1) && starvation::starved_since(began) > passed / 2
}

fn factor(variable: Option<&str>) -> u32 {
    variable
        .and_then(|text| text.parse().ok())
        .filter(|factor| *factor > 0)
        .unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_never_shortened() {
        assert_eq!(factor(Some("20")), 20);
        for useless in [None, Some("0"), Some("-1"), Some("long")] {
            assert_eq!(factor(useless), 1);
        }
    }

    #[test]
    fn only_the_extended_time_counts() {
        let seconds = |passed, starved| {
            let [passed, starved] = [passed, starved].map(Duration::from_secs);
            verdict(Duration::from_secs(10), passed, starved)
        };
        assert_eq!(seconds(10, 0), Verdict::InTime);
        assert_eq!(seconds(11, 0), Verdict::Slow);
        assert_eq!(seconds(100, 95), Verdict::InTime);
        assert_eq!(seconds(100, 89), Verdict::Slow);
        assert_eq!(seconds(201, 200), Verdict::Starved);
    }

    #[test]
    fn an_expired_deadline_reports_its_length() {
        let deadline = Deadline::within(Duration::from_millis(1));
        while !deadline.is_over() {
            std::thread::sleep(Duration::from_millis(1));
        }
        let said = deadline.to_string();
        assert!(said.contains("s passed"), "{said}");
        let far = Deadline::within(Duration::from_secs(3_600));
        assert!(!far.is_over());
    }

    #[test]
    fn only_calls_that_time_out_are_repeated() {
        let mut calls = 0;
        let answer = patiently(Duration::from_secs(60), || {
            calls += 1;
            match calls {
                3 => Ok("here"),
                _ => Err(io::ErrorKind::WouldBlock.into()),
            }
        });
        assert_eq!(answer.ok(), Some("here"));
        let refused = || -> io::Result<()> { Err(io::ErrorKind::ConnectionRefused.into()) };
        let refused = patiently(Duration::from_secs(60), refused);
        assert_eq!(
            refused.err().map(|error| error.kind()),
            Some(io::ErrorKind::ConnectionRefused)
        );
        let silent = || -> io::Result<()> { Err(io::ErrorKind::WouldBlock.into()) };
        let silent = patiently(Duration::from_millis(1), silent);
        assert_eq!(
            silent.err().map(|error| error.kind()),
            Some(io::ErrorKind::TimedOut)
        );
    }
}
