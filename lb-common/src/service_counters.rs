//! SERVICE_COUNTERS: a hash from a service port's id to what went wrong with its connections, and how long their round trips
//! took. A service port has an element once there is something to count.

use bytemuck::{Pod, Zeroable};

/// Number of buckets of a [`RoundTrips`].
pub const BUCKETS: usize = 20;

/// The first bucket counts times of up to 2⁴ µs.
const FIRST_LOG2: u32 = 4;

/// Value of SERVICE_COUNTERS.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct ServiceCounters {
    /// Number of calls refused because the frontend had no backend.
    pub refused: u64,
    /// Number of TCP sockets closed before their connection was established.
    pub failed: u64,
    /// `srtt_us` of TCP sockets when they were closed.
    pub smoothed: RoundTrips,
    /// The smallest round-trip time of TCP sockets, as `tcp_min_rtt` of the kernel knows it.
    pub smallest: RoundTrips,
}

impl ServiceCounters {
    /// Nothing is counted yet.
    pub const NONE: Self = Self {
        refused: 0,
        failed: 0,
        smoothed: RoundTrips::NONE,
        smallest: RoundTrips::NONE,
    };
}

impl ServiceCounters {
    /// Adds the counters of another service port.
    pub fn add(&mut self, other: &Self) {
        self.refused += other.refused;
        self.failed += other.failed;
        self.smoothed.add(&other.smoothed);
        self.smallest.add(&other.smallest);
    }
}

/// A histogram of round-trip times.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct RoundTrips {
    /// Sum of all times, in µs.
    pub sum: u64,
    /// Number of times in each bucket: see [`bucket`]. Their sum is the number of times.
    pub buckets: [u64; BUCKETS],
}

impl RoundTrips {
    const NONE: Self = Self {
        sum: 0,
        buckets: [0; BUCKETS],
    };

    /// Adds the times of another histogram.
    pub fn add(&mut self, other: &Self) {
        self.sum += other.sum;
        for (number, other) in self.buckets.iter_mut().zip(other.buckets) {
            *number += other;
        }
    }
}

/// The index of the bucket that counts a time.
///
/// `time`: in µs.
#[must_use]
#[inline(always)]
pub const fn bucket(time: u32) -> usize {
    let above = time.saturating_sub(1) >> FIRST_LOG2;
    let index = (u32::BITS - above.leading_zeros()) as usize;
    if index < BUCKETS { index } else { BUCKETS - 1 }
}

/// The longest time, in µs, that a bucket counts. None for the last one, which counts all longer ones.
#[must_use]
pub const fn limit(bucket: usize) -> Option<u64> {
    if bucket + 1 < BUCKETS {
        Some(1 << (bucket + FIRST_LOG2 as usize))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_counts_times_up_to_its_limit() {
        for index in 0..BUCKETS - 1 {
            let limit = u32::try_from(limit(index).expect("not the last")).expect("4 s in µs");
            assert_eq!((bucket(limit), bucket(limit + 1)), (index, index + 1));
        }
        assert_eq!((bucket(0), bucket(u32::MAX)), (0, BUCKETS - 1));
        assert_eq!(limit(BUCKETS - 1), None);
    }
}
