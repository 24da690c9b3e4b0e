//! The figures: as a table, as JSON, and against what is aimed at.

use std::time::Duration;

use serde::Serialize;

use super::race::Work;
use crate::verdict::verdict;

/// How long one racer took in one setting, in microseconds.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Row {
    pub(super) work: &'static str,
    pub(super) services: usize,
    /// A random Service each time.
    pub(super) spread: bool,
    pub(super) way: &'static str,
    pub(super) min_us: f64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
    /// The median over the direct way's.
    pub(super) ratio: f64,
}

impl Row {
    /// `ratio` is left at 1.
    pub(super) fn new(
        work: Work,
        services: usize,
        spread: bool,
        way: &'static str,
        mut took: Vec<Duration>,
    ) -> Self {
        took.sort_unstable();
        let at = |percent: usize| {
            let index = took.len().saturating_sub(1) * percent / 100;
            took.get(index)
                .map_or(0.0, |time| (time.as_nanos() as f64 / 10.0).round() / 100.0)
        };
        Self {
            work: work.name(),
            services,
            spread,
            way,
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
        "work", "services", "", "way", "ratio", "min", "p50", "p99"
    )
}

pub(super) fn line(row: &Row) -> String {
    format!(
        "{:13} {:>8}  {:6}  {:9} {:>6.3}  {:>8.2} {:>8.2} {:>8.2}",
        row.work,
        row.services,
        if row.spread { "random" } else { "hot" },
        row.way,
        row.ratio,
        row.min_us,
        row.p50_us,
        row.p99_us,
    )
}

/// What is aimed at, and whether it was met.
pub(super) fn verdicts(rows: &[Row]) -> Vec<String> {
    rows.iter()
        .filter(|row| row.way == "socklb" && row.work == Work::Connect.name())
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
