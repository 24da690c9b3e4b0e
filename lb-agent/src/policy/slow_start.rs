//! The annotation `socklb.dev/slow-start` of a Service.

use std::time::Duration;

use super::report::Report;
use crate::catalog::Service;

/// The longest time.
const MOST: Duration = Duration::from_secs(60 * 60);

/// The time that a backend takes to get its whole share; none: it gets it at once.
pub(super) fn of(service: &Service, report: &mut Report<'_>) -> Option<Duration> {
    let text = service.metadata.annotations.slow_start.as_deref()?;
    let takes = parse(text);
    if takes.is_none() {
        report.add(format!(
            "annotation socklb.dev/slow-start {text:?}: write a time from 1s to 1h, like 30s or 2m; new backends get their whole share at once"
        ));
    }
    takes
}

fn parse(text: &str) -> Option<Duration> {
    let span: jiff::SignedDuration = text.parse().ok()?;
    let takes = Duration::try_from(span).ok()?;
    (Duration::from_secs(1)..=MOST)
        .contains(&takes)
        .then_some(takes)
}
