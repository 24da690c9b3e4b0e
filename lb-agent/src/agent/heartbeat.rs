//! `--step-aside-after`: while the agent runs, it keeps postponing the time at which the programs fail open.

use std::time::Duration;

use super::clock::monotonic;

/// The shortest accepted time: several times the longest interval between two heartbeats, so that a busy agent does not
/// count as a dead one.
pub const SHORTEST: Duration = Duration::from_secs(5);

/// The time from which the programs fail open unless another heartbeat comes, in ns of CLOCK_MONOTONIC. 0 means never;
/// it is the result without a time.
///
/// That clock stops while the machine is suspended, and so does the agent.
pub fn deadline(after: Option<Duration>) -> u64 {
    let Some(after) = after else {
        return 0;
    };
    let after = u64::try_from(after.as_nanos()).unwrap_or(u64::MAX);
    monotonic().saturating_add(after)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deadline_moves_with_the_clock_and_is_0_without_a_limit() {
        assert_eq!(deadline(None), 0);
        let first = deadline(Some(SHORTEST));
        let later = deadline(Some(2 * SHORTEST));
        assert!(u128::from(first) > SHORTEST.as_nanos());
        assert!(u128::from(later - first) >= SHORTEST.as_nanos());
    }
}
