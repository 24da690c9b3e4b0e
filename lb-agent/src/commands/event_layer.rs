//! Copies the agent's log events into its event log, for `lb-agent events`.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use crate::serve::{EventLevel, EventLog, EventRecord};

/// The layer. It takes events of at least level INFO that have a name.
#[derive(Debug)]
pub struct EventLayer(pub EventLog);

impl<S: Subscriber> Layer<S> for EventLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let level = match *event.metadata().level() {
            Level::ERROR => EventLevel::Error,
            Level::WARN => EventLevel::Warn,
            Level::INFO => EventLevel::Info,
            _ => return,
        };
        let mut fields = Fields::default();
        event.record(&mut fields);
        let Some(Value::String(name)) = fields.0.remove("event") else {
            return;
        };
        let message = match fields.0.remove("message") {
            Some(Value::String(message)) => message,
            _ => String::new(),
        };
        self.0.add(EventRecord {
            time: Timestamp::now(),
            event: name,
            level,
            message,
            fields: fields.0,
        });
    }
}

#[derive(Default)]
struct Fields(BTreeMap<String, Value>);

impl Fields {
    fn add(&mut self, field: &Field, value: Value) {
        self.0.insert(field.name().to_owned(), value);
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, format!("{value:?}").into());
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[test]
    fn named_events_are_copied_with_their_fields() {
        let log = EventLog::default();
        let subscriber = tracing_subscriber::registry().with(EventLayer(log.clone()));
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!("no name");
            tracing::debug!(event = "too.quiet", "nobody asked");
            tracing::warn!(event = "a.b", count = 2, name = %"web", is_new = true, "it happened");
        });
        let recent = log.recent();
        assert_eq!(recent.len(), 1);
        let record = &recent[0];
        assert_eq!(
            (&*record.event, record.level, &*record.message),
            ("a.b", EventLevel::Warn, "it happened")
        );
        assert_eq!(
            serde_json::to_value(&record.fields).expect("plain values"),
            serde_json::json!({"count": 2, "name": "web", "is_new": true})
        );
    }
}
