//! `--step-aside-after`: for as long as the agent lives it puts off the moment at which the programs step aside.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Several times what may lie between two beats, so that a busy agent is not taken for a dead one.
pub const SHORTEST: Duration = Duration::from_secs(5);

/// From when on the programs pass connects and sends untouched if they do not hear of the agent again, in ns of
/// CLOCK_MONOTONIC; 0, which is never, when no time is given.
///
/// That clock stands still while the machine sleeps, as the agent does.
pub fn deadline(after: Option<Duration>) -> u64 {
    let Some(after) = after else {
        return 0;
    };
    let now = clock_gettime(ClockId::Monotonic);
    let now = Duration::try_from(now).unwrap_or_default();
    u64::try_from((now + after).as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_moves_with_the_clock_and_is_never_without_a_time() {
        assert_eq!(deadline(None), 0);
        let first = deadline(Some(SHORTEST));
        let later = deadline(Some(2 * SHORTEST));
        assert!(u128::from(first) > SHORTEST.as_nanos());
        assert!(u128::from(later - first) >= SHORTEST.as_nanos());
    }
}
