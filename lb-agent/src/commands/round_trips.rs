//! Percentiles of round-trip times.

use lb_common::service_counters::limit;

use crate::serve::RoundTripStatus;

impl RoundTripStatus {
    /// The times that were counted after an earlier answer.
    #[must_use]
    pub fn since(&self, before: Option<&Self>) -> Self {
        let Some(before) = before else {
            return self.clone();
        };
        let buckets = self.buckets.iter().zip(&before.buckets);
        Self {
            sum_micros: self.sum_micros.saturating_sub(before.sum_micros),
            buckets: buckets
                .map(|(now, then)| now.saturating_sub(*then))
                .collect(),
        }
    }

    /// The time in µs that this part of the times does not exceed; none without times. Within a bucket times are taken as evenly
    /// spread, as Prometheus' `histogram_quantile` does; the last bucket stands for its lower limit.
    ///
    /// `part`: 0 to 1.
    #[must_use]
    pub fn quantile(&self, part: f64) -> Option<f64> {
        let total: u64 = self.buckets.iter().sum();
        let wanted = total as f64 * part;
        let mut below = 0.0;
        let mut lower = 0.0;
        for (index, number) in self.buckets.iter().enumerate() {
            let number = *number as f64;
            let upper = limit(index).map_or(lower, |limit| limit as f64);
            if number > 0.0 && below + number >= wanted {
                return Some(lower + (upper - lower) * (wanted - below) / number);
            }
            below += number;
            lower = upper;
        }
        None
    }
}

/// A time in a cell; empty if there is none.
///
/// `micros`: in µs.
pub(super) fn milliseconds(micros: Option<f64>) -> String {
    let millis = micros.map(|micros| micros / 1e3);
    millis.map_or_else(String::new, |millis| match millis {
        ..10.0 => format!("{millis:.2}ms"),
        ..100.0 => format!("{millis:.1}ms"),
        _ => format!("{millis:.0}ms"),
    })
}

#[cfg(test)]
mod tests {
    use lb_common::service_counters::BUCKETS;

    use super::*;

    fn times(numbers: &[(usize, u64)]) -> RoundTripStatus {
        let mut buckets = vec![0; BUCKETS];
        for (bucket, number) in numbers {
            buckets[*bucket] = *number;
        }
        RoundTripStatus {
            sum_micros: 0,
            buckets,
        }
    }

    #[test]
    fn quantiles_are_within_their_bucket() {
        assert_eq!(times(&[]).quantile(0.5), None);
        // 16 to 32 µs.
        assert_eq!(times(&[(1, 4)]).quantile(0.5), Some(24.0));
        assert_eq!(times(&[(1, 4)]).quantile(1.0), Some(32.0));
        let mixed = times(&[(0, 98), (3, 1), (BUCKETS - 1, 1)]);
        assert_eq!(mixed.quantile(0.49), Some(8.0));
        assert_eq!(mixed.quantile(0.99), Some(128.0));
        // Longer than the last limit.
        assert_eq!(
            mixed.quantile(1.0),
            limit(BUCKETS - 2).map(|limit| limit as f64)
        );
    }

    #[test]
    fn times_since_an_answer_leave_out_those_before() {
        let before = times(&[(1, 4), (2, 1)]);
        let now = times(&[(1, 4), (2, 3)]);
        assert_eq!(now.since(None), now);
        assert_eq!(now.since(Some(&before)), times(&[(2, 2)]));
        assert_eq!(before.since(Some(&now)), times(&[]), "counted anew");
    }

    #[test]
    fn times_have_about_three_digits() {
        assert_eq!(milliseconds(None), "");
        for (micros, text) in [(35.0, "0.04ms"), (12_345.0, "12.3ms"), (4e6, "4000ms")] {
            assert_eq!(milliseconds(Some(micros)), text);
        }
    }
}
