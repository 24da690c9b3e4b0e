//! The clock that the programs read too.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The time in ns of CLOCK_MONOTONIC.
pub fn monotonic() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let now = Duration::try_from(now).unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}
