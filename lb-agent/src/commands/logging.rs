//! The log that `run` writes, to stderr.

use std::fmt;
use std::io::{self, IsTerminal};

use anyhow::Context as _;
use clap::ValueEnum;
use tracing::Level;
use tracing::field::{Field, Visit};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use super::event_layer::EventLayer;
use crate::catalog::Printable;
use crate::serve::EventLog;

/// How to write the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

/// Starts logging.
///
/// `events`: gets the events too, whatever the filter is.
///
/// # Errors
/// The filter is invalid, or a log was started already.
pub fn start(filter: &str, format: LogFormat, events: EventLog) -> anyhow::Result<()> {
    // notify warns twice when a folder is removed. The watches log what kube reports.
    let quiet = "notify=error,kube_client=off,kube_runtime=off";
    let filter = EnvFilter::try_new(format!("error,{quiet},{filter}")).with_context(|| {
        format!("cannot use --log {filter:?}: write a level, or pairs like lb_agent=debug")
    })?;
    let log = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal());
    let log = match format {
        LogFormat::Text => log.fmt_fields(TextFields).with_target(false).boxed(),
        LogFormat::Json => log.json().boxed(),
    };
    let events =
        EventLayer(events).with_filter(Targets::new().with_target("lb_agent", Level::INFO));
    let started = tracing_subscriber::registry()
        .with(log.with_filter(filter))
        .with(events)
        .try_init();
    started.map_err(|error| anyhow::anyhow!("cannot start the log: {error}"))
}

/// Writes an event's message, then its fields: `read the manifests event=source.listed files=2`.
///
/// Values come from outside. The format ensures that they cannot begin another line or field, and that they contain no
/// control characters for a terminal. tracing-subscriber's own format escapes only messages, and not their line breaks.
struct TextFields;

impl<'w> FormatFields<'w> for TextFields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut line = Line {
            writer,
            result: Ok(()),
            is_empty: true,
        };
        fields.record(&mut line);
        line.result
    }
}

struct Line<'w> {
    writer: Writer<'w>,
    result: fmt::Result,
    is_empty: bool,
}

impl Line<'_> {
    fn add(&mut self, field: &Field, value: &str) {
        // These are fields of a record from the crate `log`: its level and target are in the line already.
        if field.name().starts_with("log.") || self.result.is_err() {
            return;
        }
        let space = if self.is_empty { "" } else { " " };
        self.is_empty = false;
        self.result = match field.name() {
            "message" => write!(self.writer, "{space}{}", Printable(value)),
            name if is_word(value) => write!(self.writer, "{space}{name}={value}"),
            name => write!(self.writer, "{space}{name}={value:?}"),
        };
    }
}

impl Visit for Line<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, &value.to_string());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, &format!("{value:?}"));
    }
}

/// Whether a value needs no quotation marks.
fn is_word(value: &str) -> bool {
    let breaks = |c: char| c.is_control() || c.is_whitespace() || matches!(c, '"' | '=');
    !value.is_empty() && !value.contains(breaks)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl Write for Memory {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("one thread").write(text)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_event_is_one_line_without_control_characters() {
        let memory = Memory::default();
        let writer = memory.clone();
        let log = tracing_subscriber::fmt()
            .fmt_fields(TextFields)
            .with_target(false)
            .with_ansi(false)
            .without_time()
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(log, || {
            let forged = "a\nINFO forged\u{1b}[31m\u{9b}";
            tracing::warn!(event = "a.b", count = 2, "plain");
            tracing::warn!(event = "a.b", text = "two\" count=\"3", path = %forged, "{forged}");
        });
        let text = String::from_utf8(memory.0.lock().expect("one thread").clone());
        let forged = r"a\nINFO forged\u{1b}[31m\u{9b}";
        assert_eq!(
            text.expect("UTF-8"),
            format!(
                " WARN plain event=a.b count=2\n \
                 WARN {forged} event=a.b text=\"two\\\" count=\\\"3\" path=\"{forged}\"\n"
            )
        );
    }
}
