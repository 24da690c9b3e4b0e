//! The figures as a table, and compared with the targets.

use serde::Serialize;

use crate::verdict::verdict;

/// One case at one number of Services.
#[derive(Clone, Debug, Serialize)]
pub(super) struct HookRow {
    pub(super) case: &'static str,
    pub(super) services: usize,
    /// A random Service each time.
    pub(super) spread: bool,
    /// A run, minus a run of the empty program.
    pub(super) ns: f64,
    /// A run of the empty program; most of it is the kernel's own measuring.
    pub(super) floor_ns: f64,
    /// As `ns`, for the classic design; none if it does not have the case.
    pub(super) reference_ns: Option<f64>,
}

pub(super) fn head() -> String {
    format!(
        "{:17} {:>8}  {:6} {:>8} {:>9} {:>6} {:>7}",
        "case", "services", "", "ns", "classic", "ratio", "floor"
    )
}

pub(super) fn line(row: &HookRow) -> String {
    let (reference, ratio) = match row.reference_ns {
        Some(reference) => (
            format!("{reference:.0}"),
            format!("{:.2}", row.ns / reference),
        ),
        None => ("-".to_owned(), "-".to_owned()),
    };
    format!(
        "{:17} {:>8}  {:6} {:>8.0} {:>9} {:>6} {:>7.0}",
        row.case,
        row.services,
        if row.spread { "random" } else { "hot" },
        row.ns,
        reference,
        ratio,
        row.floor_ns
    )
}

/// The targets, and whether they were met, at each number of Services.
pub(super) fn verdicts(rows: &[HookRow]) -> Vec<String> {
    let mut lines = Vec::new();
    for hit in rows.iter().filter(|row| row.case == "tcp-hit") {
        let find = |case: &str| {
            rows.iter().find(|row| {
                row.case == case && row.services == hit.services && row.spread == hit.spread
            })
        };
        let place = format!(
            "{} services, {}",
            hit.services,
            if hit.spread { "random" } else { "hot" }
        );
        if let Some(release) = find("release-hit")
            && let (Some(connect), Some(end)) = (hit.reference_ns, release.reference_ns)
        {
            let ratio = (hit.ns + release.ns) / (connect + end);
            lines.push(verdict(
                &format!("TCP hit and release, {place}: {ratio:.2} of the classic pair"),
                "at most 0.50",
                ratio <= 0.5,
            ));
        }
        if let Some(miss) = find("miss")
            && let Some(reference) = miss.reference_ns
        {
            lines.push(verdict(
                &format!(
                    "miss, {place}: {:.2} of the classic one",
                    miss.ns / reference
                ),
                "at most 1.00",
                miss.ns <= reference,
            ));
        }
        if let Some(release) = find("release-miss") {
            lines.push(verdict(
                &format!("release-miss, {place}: {:.0} ns", release.ns),
                "below 60",
                release.ns < 60.0,
            ));
        }
    }
    lines
}
