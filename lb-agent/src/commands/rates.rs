//! The rates of the agent's counters, from one answer to the next.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// The counters of the last answer, by what they count.
#[derive(Debug)]
pub(super) struct Rates<K> {
    last: Option<(Instant, HashMap<K, u64>)>,
}

impl<K> Default for Rates<K> {
    fn default() -> Self {
        Self { last: None }
    }
}

impl<K: Eq + Hash> Rates<K> {
    pub(super) const fn has_counters(&self) -> bool {
        self.last.is_some()
    }

    /// The rate of each counter since the last answer, per second, rounded to tenths. None for a counter that was not in the last answer, and
    /// for one that has fallen.
    ///
    /// `answered`: when the answer with these counters arrived.
    pub(super) fn since_last(
        &mut self,
        answered: Instant,
        counters: impl Iterator<Item = (K, u64)>,
    ) -> Vec<Option<f64>> {
        let last = self.last.take();
        let mut now = HashMap::with_capacity(counters.size_hint().0);
        let mut rates = Vec::with_capacity(counters.size_hint().0);
        for (key, count) in counters {
            let rate = last.as_ref().and_then(|(at, counts)| {
                per_second(
                    *counts.get(&key)?,
                    count,
                    answered.saturating_duration_since(*at),
                )
            });
            rates.push(rate);
            now.insert(key, count);
        }
        self.last = Some((answered, now));
        rates
    }
}

/// The rate of a counter, rounded to tenths. None if it has fallen.
///
/// `passed`: the time between both counts.
pub(super) fn per_second(before: u64, now: u64, passed: Duration) -> Option<f64> {
    let more = now.checked_sub(before)? as f64;
    (!passed.is_zero()).then(|| (more / passed.as_secs_f64() * 10.0).round() / 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_since_the_last_answer() {
        let mut rates = Rates::default();
        let first = Instant::now();
        let mut after = |millis, counters: &[(&'static str, u64)]| {
            let answered = first + Duration::from_millis(millis);
            rates.since_last(answered, counters.iter().copied())
        };
        assert_eq!(after(0, &[("a", 100), ("b", 7)]), [None, None]);
        // The order may change.
        assert_eq!(
            after(1_500, &[("b", 7), ("a", 105)]),
            [Some(0.0), Some(3.3)]
        );
        assert_eq!(after(2_000, &[("a", 105), ("c", 50)]), [Some(0.0), None]);
        assert_eq!(after(2_500, &[("b", 8), ("c", 51)]), [None, Some(2.0)]);
    }

    #[test]
    fn a_counter_that_falls_has_no_rate() {
        let mut rates = Rates::default();
        let first = Instant::now();
        let mut after = |seconds, count| {
            let answered = first + Duration::from_secs(seconds);
            rates.since_last(answered, std::iter::once(((), count)))
        };
        assert_eq!(after(0, 100), [None]);
        assert_eq!(after(1, 70), [None]);
        assert_eq!(after(2, 75), [Some(5.0)]);
        // Two answers at the same time.
        assert_eq!(after(2, 80), [None]);
    }
}
