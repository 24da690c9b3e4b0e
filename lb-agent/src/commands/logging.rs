//! The log that `run` writes, to stderr.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};

use anyhow::Context as _;
use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

/// How to write the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

/// Starts logging.
///
/// # Errors
/// The filter makes no sense, or there is a log already.
pub fn start(filter: &str, format: LogFormat) -> anyhow::Result<()> {
    // notify warns when a folder goes, since it hears of it twice; of what kube meets the watches tell.
    let quiet = "notify=error,kube_client=off,kube_runtime=off";
    let filter = EnvFilter::try_new(format!("error,{quiet},{filter}")).with_context(|| {
        format!("cannot use --log {filter:?}: write a level, or pairs like lb_agent=debug")
    })?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| Lines(io::stderr()))
        .with_ansi(io::stderr().is_terminal());
    let started = match format {
        LogFormat::Text => log.with_target(false).try_init(),
        LogFormat::Json => log.json().try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("cannot start the log: {error}"))
}

/// Takes an event in each write, and makes one line of it, whatever names and messages from outside have in them.
struct Lines<W>(W);

impl<W: Write> Write for Lines<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        self.0.write_all(&line(event))?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// The subscriber has escaped what a terminal would obey, ESC among it: what is left of that are its own colours.
fn line(event: &[u8]) -> Cow<'_, [u8]> {
    let text = event.strip_suffix(b"\n").unwrap_or(event);
    let is_plain = |byte: &u8| !byte.is_ascii_control() || *byte == b'\x1b';
    if text.iter().all(is_plain) {
        return event.into();
    }
    let mut line = Vec::with_capacity(event.len() + 16);
    for byte in text {
        if is_plain(byte) {
            line.push(*byte);
        } else {
            line.extend(byte.escape_ascii());
        }
    }
    line.push(b'\n');
    line.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line() {
        let mut log = Lines(Vec::new());
        for event in ["WARN a\nINFO forged\r\tb\n", "plain \u{1b}[0m ré\n"] {
            log.write_all(event.as_bytes()).expect("memory takes it");
        }
        let expected = "WARN a\\nINFO forged\\r\\tb\nplain \u{1b}[0m ré\n";
        assert_eq!(String::from_utf8(log.0).as_deref(), Ok(expected));
    }
}
