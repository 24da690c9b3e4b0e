//! The log of an agent with `--log-format json`: its events, and a readable text of them.

use std::fmt;
use std::fs;
use std::ops::Index;
use std::path::Path;

use serde_json::{Map, Value};

/// An agent's log so far.
#[derive(Clone, Debug)]
pub struct Log(Vec<Line>);

#[derive(Clone, Debug)]
enum Line {
    Event(Event),
    /// Not an event: a panic, or the error of an agent whose log has not started.
    Text(String),
}

/// An event with its level and fields.
///
/// `event["count"]` is the value of a field, null if there is none.
#[derive(Clone, Debug)]
pub struct Event {
    time: String,
    level: String,
    fields: Map<String, Value>,
}

impl Log {
    /// Reads a log file; one that does not exist yet is empty.
    pub fn read(file: &Path) -> Self {
        let text = fs::read(file).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        // The last line may be half written.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        Self(whole.lines().map(Line::read).collect())
    }

    /// All events, in order.
    pub fn all(&self) -> impl DoubleEndedIterator<Item = &Event> {
        self.0.iter().filter_map(|line| match line {
            Line::Event(event) => Some(event),
            Line::Text(_) => None,
        })
    }

    /// The events of this name, in order.
    pub fn events<'a>(&'a self, name: &'a str) -> impl DoubleEndedIterator<Item = &'a Event> {
        self.all().filter(move |event| event.name() == name)
    }

    /// Whether there is an event of this name.
    pub fn has(&self, name: &str) -> bool {
        self.events(name).next().is_some()
    }

    /// How many events of this name there are.
    pub fn count(&self, name: &str) -> usize {
        self.events(name).count()
    }

    /// The names of all warnings and errors, in order.
    pub fn warnings(&self) -> Vec<&str> {
        let are_bad = self
            .all()
            .filter(|event| matches!(event.level(), "WARN" | "ERROR"));
        are_bad.map(Event::name).collect()
    }

    /// The error with which the agent failed; empty if it has not.
    pub fn failure(&self) -> &str {
        let mut failures = self.events("agent.failed");
        failures.next().map_or("", |event| event.text("error"))
    }

    /// How often an agent has become ready.
    pub fn times_ready(&self) -> usize {
        self.all().filter(|event| event.is_ready()).count()
    }
}

impl fmt::Display for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.0 {
            match line {
                Line::Event(event) => writeln!(f, "{event}")?,
                Line::Text(text) => writeln!(f, "{text}")?,
            }
        }
        Ok(())
    }
}

impl Line {
    fn read(line: &str) -> Self {
        Event::read(line).map_or_else(|| Self::Text(line.to_owned()), Self::Event)
    }
}

impl Event {
    fn read(line: &str) -> Option<Self> {
        let mut line: Map<String, Value> = serde_json::from_str(line).ok()?;
        let Some(Value::Object(fields)) = line.remove("fields") else {
            return None;
        };
        let text = |name: &str| line.get(name)?.as_str().map(str::to_owned);
        Some(Self {
            time: text("timestamp")?,
            level: text("level")?,
            fields,
        })
    }

    /// Its stable name; empty for an event of another program or library.
    pub fn name(&self) -> &str {
        self.text("event")
    }

    /// When it was logged, as a text that can be compared with others (RFC 3339, in UTC).
    pub fn time(&self) -> &str {
        &self.time
    }

    pub fn level(&self) -> &str {
        &self.level
    }

    /// A field as text; empty if there is none.
    pub fn text(&self, field: &str) -> &str {
        self[field].as_str().unwrap_or_default()
    }

    /// Whether the agent is ready. Benches also start agents from before events had names.
    fn is_ready(&self) -> bool {
        self.name() == "agent.ready" || self.text("message").starts_with("ready after ")
    }
}

impl Index<&str> for Event {
    type Output = Value;

    fn index(&self, field: &str) -> &Value {
        self.fields.get(field).unwrap_or(&Value::Null)
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let message = self.text("message");
        write!(f, "{} {:>5} {message}", self.time, self.level)?;
        for (name, value) in self.fields.iter().filter(|(name, _)| *name != "message") {
            write!(f, " {name}={value}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = r#"{"timestamp":"","level":"INFO","fields":{"message":"ready","event":"agent.ready","backends":3},"target":"a"}
{"timestamp":"","level":"WARN","fields":{"message":"bad","event":"problem.reported","object":"Service a/b"},"target":"a"}
thread 'main' panicked
{"timestamp":"","level":"WARN","fields":{"mess"#;

    #[test]
    fn events_are_parsed_and_other_lines_kept() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        fs::write(&file, LOG).expect("it can be written");
        let log = Log::read(file.path());
        let ready = log.events("agent.ready").next().expect("it is ready");
        assert_eq!(ready["backends"], 3);
        assert_eq!(ready["other"], Value::Null);
        assert_eq!(log.warnings(), ["problem.reported"]);
        assert_eq!((log.count("agent.ready"), log.times_ready()), (1, 1));
        let text = log.to_string();
        assert!(
            text.contains(" WARN bad event=\"problem.reported\" object=\"Service a/b\"\n"),
            "{text}"
        );
        assert!(text.ends_with("thread 'main' panicked\n"), "{text}");
    }
}
