//! `lb-agent events`: what the agent did, and what happens to connections.

use std::io::{self, Write as _};
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;

use super::logging::LogFormat;
use super::runtime::block_on;
use crate::catalog::Printable;
use crate::serve::{self, EventLevel, EventRecord, Told};

/// Which events to show.
#[derive(Clone, Debug)]
pub struct EventFilter {
    /// Beginnings of names; empty: all.
    pub names: Vec<String>,
    /// Of this Service; none: of all, and of none.
    pub service: Option<String>,
    /// Only the latest of the remembered ones, so many of those that the rest selects; none: all.
    pub tail: Option<usize>,
    /// Only those of the remembered ones that are not older; none: all.
    pub since: Option<Duration>,
}

/// Asks the agent that listens on `socket`.
///
/// # Errors
/// No agent listens there, or stdout cannot be written.
pub fn events(
    socket: &Path,
    follow: bool,
    filter: &EventFilter,
    format: LogFormat,
) -> anyhow::Result<()> {
    let asked_at = Timestamp::now();
    let show = |record: &EventRecord| -> anyhow::Result<()> {
        let mut stdout = io::stdout().lock();
        match format {
            LogFormat::Json => writeln!(stdout, "{}", serde_json::to_string(record)?)?,
            LogFormat::Text => writeln!(stdout, "{}", Line(record))?,
        }
        stdout.flush()?;
        Ok(())
    };
    block_on(async {
        if follow {
            return serve::follow(socket, serve::FOLLOW_EVENTS, |told| match told {
                Told::Remembered(records) => {
                    let mut shown = filter.latest(&records, asked_at).into_iter();
                    shown.try_for_each(show)
                }
                Told::New(record) if filter.matches(&record) => show(&record),
                Told::New(_) => Ok(()),
            })
            .await;
        }
        let records: Vec<EventRecord> = serve::fetch(socket, serve::EVENTS).await?;
        let mut shown = filter.latest(&records, asked_at).into_iter();
        shown.try_for_each(show)
    })
}

impl EventFilter {
    /// Those of the remembered events to show.
    fn latest<'a>(&self, remembered: &'a [EventRecord], now: Timestamp) -> Vec<&'a EventRecord> {
        // None: longer than time goes back.
        let since = self.since.and_then(|since| now.checked_sub(since).ok());
        let is_new = |record: &&EventRecord| since.is_none_or(|since| record.time >= since);
        let mut latest: Vec<&EventRecord> = remembered
            .iter()
            .filter(|record| self.matches(record))
            .filter(is_new)
            .collect();
        let tail = self.tail.unwrap_or(latest.len());
        latest.drain(..latest.len().saturating_sub(tail));
        latest
    }

    fn matches(&self, record: &EventRecord) -> bool {
        let has_name =
            self.names.is_empty() || self.names.iter().any(|name| record.event.starts_with(name));
        has_name
            && self.service.as_ref().is_none_or(|wanted| {
                let text = |name| record.fields.get(name).and_then(|value| value.as_str());
                match (text("namespace"), text("service")) {
                    (Some(namespace), Some(name)) => *wanted == format!("{namespace}/{name}"),
                    _ => false,
                }
            })
    }
}

/// An event as a line of the agent's log.
struct Line<'a>(&'a EventRecord);

impl std::fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let record = self.0;
        let level = match record.level {
            EventLevel::Info => "INFO",
            EventLevel::Warn => "WARN",
            EventLevel::Error => "ERROR",
        };
        write!(
            f,
            "{:.3} {level:>5} {} event={}",
            record.time,
            Printable(&record.message),
            Printable(&record.event)
        )?;
        for (name, value) in &record.fields {
            match value.as_str() {
                Some(text) if !text.is_empty() && !text.contains([' ', '"', '=']) => {
                    write!(f, " {name}={}", Printable(text))?;
                }
                // JSON escapes what would break the line.
                _ => write!(f, " {name}={value}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// One event each 10 seconds, of `a` and `b` in turn.
    fn remembered() -> Vec<EventRecord> {
        let record = |number: i64| EventRecord {
            time: Timestamp::from_second(number * 10).expect("a time"),
            event: ["a.x", "b.x"][usize::from(number % 2 == 1)].to_owned(),
            level: EventLevel::Info,
            message: String::new(),
            fields: BTreeMap::new(),
        };
        (0..6).map(record).collect()
    }

    #[track_caller]
    fn check(name: &str, tail: Option<usize>, since: Option<u64>, seconds: &[i64]) {
        let filter = EventFilter {
            names: vec![name.to_owned()],
            service: None,
            tail,
            since: since.map(Duration::from_secs),
        };
        let remembered = remembered();
        let now = Timestamp::from_second(60).expect("a time");
        let shown = filter.latest(&remembered, now);
        let shown: Vec<i64> = shown.iter().map(|of| of.time.as_second()).collect();
        assert_eq!(shown, seconds);
    }

    #[test]
    fn the_latest_events_of_those_that_are_selected_are_shown() {
        check("", None, None, &[0, 10, 20, 30, 40, 50]);
        check("", Some(2), None, &[40, 50]);
        check("", Some(0), None, &[]);
        check("", Some(7), None, &[0, 10, 20, 30, 40, 50]);
        check("a.", Some(2), None, &[20, 40]);
        check("", None, Some(30), &[30, 40, 50]);
        check("", None, Some(9), &[]);
        check("", None, Some(u64::MAX), &[0, 10, 20, 30, 40, 50]);
        check("b.", Some(1), Some(40), &[50]);
        check("b.", Some(5), Some(40), &[30, 50]);
    }
}
