//! `lb-agent events`: what the agent did, and what happens to connections.

use std::io::{self, Write as _};
use std::path::Path;

use super::logging::LogFormat;
use super::runtime::block_on;
use crate::catalog::Printable;
use crate::serve::{self, EventLevel, EventRecord};

/// Which events to show.
#[derive(Clone, Debug)]
pub struct EventFilter {
    /// Beginnings of names; empty: all.
    pub names: Vec<String>,
    /// Of this Service; none: of all, and of none.
    pub service: Option<String>,
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
    let show = |record: &EventRecord| -> anyhow::Result<()> {
        if !filter.matches(record) {
            return Ok(());
        }
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
            return serve::follow(socket, serve::FOLLOW_EVENTS, |record| show(&record)).await;
        }
        let records: Vec<EventRecord> = serve::fetch(socket, serve::EVENTS).await?;
        records.iter().try_for_each(show)
    })
}

impl EventFilter {
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
