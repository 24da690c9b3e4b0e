//! The counters of a service port: refused calls, failed connections, round-trip times.

use aya_ebpf::bindings::BPF_NOEXIST;
use lb_common::ServiceCounters;
use lb_common::service_counters::{BUCKETS, RoundTrips, bucket};

use crate::atomic::Word;
use crate::maps;

/// A new element: too large for a program's stack.
static NONE: ServiceCounters = ServiceCounters::NONE;

/// The counters of one service port.
#[derive(Clone, Copy)]
pub struct Counters(*mut ServiceCounters);

impl Counters {
    /// Those of a service port, which are made if there are none yet. None if there is no room.
    ///
    /// `port`: the service port's id.
    #[inline(always)]
    pub fn of(port: u32) -> Option<Self> {
        if let Some(counters) = maps::SERVICE_COUNTERS.get_ptr_mut(port) {
            return Some(Self(counters));
        }
        // Another program may have inserted it meanwhile.
        let none: &ServiceCounters = &NONE;
        let _ = maps::SERVICE_COUNTERS.insert(port, none, u64::from(BPF_NOEXIST));
        maps::SERVICE_COUNTERS.get_ptr_mut(port).map(Self)
    }

    /// Counts a call that was refused because there is no backend.
    #[inline(always)]
    pub fn count_refused(self) {
        // SAFETY: the look-up gave an element.
        unsafe { Word::new(&raw mut (*self.0).refused) }.add(1);
    }

    /// Counts a TCP socket that was closed before its connection was established.
    #[inline(always)]
    pub fn count_failed(self) {
        // SAFETY: the look-up gave an element.
        unsafe { Word::new(&raw mut (*self.0).failed) }.add(1);
    }

    /// Counts the round-trip times of a connection, in µs.
    #[inline(always)]
    pub fn count_times(self, smoothed: u32, smallest: u32) {
        // SAFETY: the look-up gave an element.
        unsafe {
            count(&raw mut (*self.0).smoothed, smoothed);
            count(&raw mut (*self.0).smallest, smallest);
        }
    }
}

/// # Safety
/// `times` is in a map's element.
#[inline(always)]
unsafe fn count(times: *mut RoundTrips, time: u32) {
    // SAFETY: the caller's, and the index is below the number of buckets.
    unsafe {
        Word::new(&raw mut (*times).sum).add(u64::from(time));
        // Read back, so that LLVM keeps the comparison, from which the verifier knows the bound.
        let index = bucket(time);
        let index = (&raw const index).read_volatile();
        if index < BUCKETS {
            let buckets = (&raw mut (*times).buckets).cast::<u64>();
            Word::new(buckets.add(index)).add(1);
        }
    }
}
