//! `socklb.dev/drain`: how long connections go on after their backend has stopped serving.

use std::time::Duration;

use jiff::SignedDuration;

use super::context::Context;
use super::report::Report;
use crate::catalog::Service;

const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// The annotation's value, or that of the flag.
pub(super) fn of(
    context: &Context<'_>,
    service: &Service,
    report: &mut Report<'_>,
) -> Option<Duration> {
    let Some(text) = service.metadata.annotations.drain.as_deref() else {
        return context.drain;
    };
    if text == "none" {
        return None;
    }
    parse(text).map(Some).unwrap_or_else(|error| {
        let default = context.drain.map_or_else(
            || "none".to_owned(),
            |default| {
                format!(
                    "{:#}",
                    SignedDuration::try_from(default).unwrap_or_default()
                )
            },
        );
        report.add(format!(
            "annotation socklb.dev/drain {text:?}: {error}, or none; {default} is used"
        ));
        context.drain
    })
}

/// A time in whole seconds as `30s`, `5m` or `1h 30m`: 0, or 1 second to 24 hours. The error says what to write instead.
pub fn parse(text: &str) -> Result<Duration, String> {
    if ["0", "0s"].contains(&text) {
        return Ok(Duration::ZERO);
    }
    let span: Option<SignedDuration> = text.parse().ok();
    span.and_then(|span| Duration::try_from(span).ok())
        .filter(|span| span.subsec_nanos() == 0 && *span <= LONGEST && !span.is_zero())
        .ok_or_else(|| "write whole seconds up to 24h, like 30s or 5m, or 0s".to_owned())
}
