//! When a connection is ended.
//!
//! All of a backend's connections are ended within the second half of the grace. In the first half none is, so that each has
//! time to end by itself. Over the second half they are spread evenly, so that their owners do not all connect again at once.
//!
//! A connection's time follows from its cookie alone, so nothing has to be remembered of it, and a new grace moves it.

use std::time::Duration;

/// The shortest time between two searches for connections to end. A search visits every network namespace.
const SHORTEST_PAUSE: Duration = Duration::from_millis(250);

/// How many searches a grace has at most, all in its second half.
const SEARCHES: u32 = 60;

/// How long after the backend has stopped a connection is ended: less than the grace, in steps of [`pause`].
///
/// Cookies are assigned in sequence. Multiplied by 2⁶⁴ over the golden ratio, the numbers of a sequence fall evenly into the
/// range of a word (Fibonacci hashing), more evenly than by chance.
pub fn end_after(grace: Duration, cookie: u64) -> Duration {
    const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
    let half = grace / 2;
    let share = u128::from(cookie.wrapping_mul(GOLDEN) >> 32);
    let nanos = (half.as_nanos() * share) >> 32;
    let nanos = nanos - nanos % pause(grace).as_nanos();
    half + Duration::from_nanos(u64::try_from(nanos).unwrap_or_default())
}

/// The least time between two searches for a backend's connections; not 0.
pub fn pause(grace: Duration) -> Duration {
    (grace / 2 / SEARCHES).max(SHORTEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of these cookies' times are in each tenth of the grace.
    fn tenths(cookies: impl Iterator<Item = u64>) -> [u32; 10] {
        let grace = Duration::from_secs(30);
        let mut tenths = [0; 10];
        for cookie in cookies {
            let nanos = end_after(grace, cookie).as_nanos() * 10 / grace.as_nanos();
            tenths[usize::try_from(nanos).expect("it is small")] += 1;
        }
        tenths
    }

    #[test]
    fn connections_are_spread_evenly_over_the_second_half() {
        // Linux assigns cookies in sequence, each CPU from a range of its own (lib/cookie.h: `COOKIE_LOCAL_BATCH`).
        let sequences: [(u64, usize); 4] = [(1, 1), (7_000_001, 1), (4_097, 2), (1 << 40, 17)];
        for (first, step) in sequences {
            let tenths = tenths((first..).step_by(step).take(100));
            assert_eq!(tenths[..5], [0; 5]);
            for count in &tenths[5..] {
                assert!((12..=28).contains(count), "{first} {step}: {tenths:?}");
            }
        }
    }

    #[test]
    fn the_last_one_ends_within_the_grace() {
        for grace in [2, 30, 86_400].map(Duration::from_secs) {
            for cookie in 0..10_000 {
                let after = end_after(grace, cookie);
                assert!(after >= grace / 2 && after < grace);
            }
        }
        assert_eq!(end_after(Duration::ZERO, 5), Duration::ZERO);
    }

    #[test]
    fn a_long_grace_has_few_searches() {
        assert_eq!(pause(Duration::from_secs(1)), SHORTEST_PAUSE);
        assert_eq!(pause(Duration::from_secs(3_600)), Duration::from_secs(30));
    }
}
