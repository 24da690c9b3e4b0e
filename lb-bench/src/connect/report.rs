//! The figures as a table and as JSON, and compared with the targets.

use std::time::Duration;

use serde::Serialize;

use super::exchange::Exchange;
use crate::statistics::percentile;
use crate::verdict::verdict;

/// The times of one candidate for one exchange, in microseconds.
#[derive(Clone, Debug, Serialize)]
pub(super) struct ConnectRow {
    pub(super) exchange: &'static str,
    pub(super) services: usize,
    /// A random Service each time.
    pub(super) spread: bool,
    pub(super) candidate: &'static str,
    pub(super) min_us: f64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
    /// The median divided by that of a direct connection.
    pub(super) ratio: f64,
}

impl ConnectRow {
    /// With a `ratio` of 1: see [`Self::compare`].
    pub(super) fn new(
        exchange: Exchange,
        services: usize,
        spread: bool,
        candidate: &'static str,
        mut took: Vec<Duration>,
    ) -> Self {
        took.sort_unstable();
        let at = |percent| {
            let time: Duration = percentile(&took, percent);
            (time.as_nanos() as f64 / 10.0).round() / 100.0
        };
        Self {
            exchange: exchange.name(),
            services,
            spread,
            candidate,
            min_us: at(0),
            p50_us: at(50),
            p99_us: at(99),
            ratio: 1.0,
        }
    }

    pub(super) fn compare(&mut self, direct_us: f64) {
        self.ratio = (self.p50_us / direct_us * 1000.0).round() / 1000.0;
    }
}

pub(super) fn head() -> String {
    format!(
        "{:13} {:>8}  {:6}  {:9} {:>6}  {:>8} {:>8} {:>8}  us",
        "exchange", "services", "", "candidate", "ratio", "min", "p50", "p99"
    )
}

pub(super) fn line(row: &ConnectRow) -> String {
    format!(
        "{:13} {:>8}  {:6}  {:9} {:>6.3}  {:>8.2} {:>8.2} {:>8.2}",
        row.exchange,
        row.services,
        if row.spread { "random" } else { "hot" },
        row.candidate,
        row.ratio,
        row.min_us,
        row.p50_us,
        row.p99_us,
    )
}

/// The targets, and whether they were met.
pub(super) fn verdicts(rows: &[ConnectRow]) -> Vec<String> {
    rows.iter()
        .filter(|row| row.candidate == "socklb" && row.exchange == Exchange::Connect.name())
        .filter_map(|row| {
            let (aim, order) = match (row.services, row.spread) {
                (_, false) => (1.03, "one hot service"),
                (10_000, true) => (1.06, "a random service"),
                _ => return None,
            };
            Some(verdict(
                &format!(
                    "connect to {order} of {}: {:.3} of direct",
                    row.services, row.ratio
                ),
                &format!("at most {aim}"),
                row.ratio <= aim,
            ))
        })
        .collect()
}
