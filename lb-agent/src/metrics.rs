//! How metrics get their values. Each room has its own metrics beside what they measure; the agent registers and updates them.

use std::sync::atomic::Ordering;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

/// Sets a counter whose total is counted elsewhere.
pub fn set_total(counter: &Counter, total: u64) {
    counter.inner().store(total, Ordering::Relaxed);
}

pub fn set_number(gauge: &Gauge, number: usize) {
    gauge.set(i64::try_from(number).unwrap_or(i64::MAX));
}

pub fn set_bool(gauge: &Gauge, is_so: bool) {
    gauge.set(i64::from(is_so));
}

/// A moment in seconds since 1970.
#[must_use]
pub fn timestamp(at: Instant) -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default().as_secs_f64() - at.elapsed().as_secs_f64()
}
