//! The registry of metrics, and their text for Prometheus.

use std::fmt;

use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::text_format::{PrometheusText, TextFormat};

/// The metrics of an agent.
#[derive(Debug)]
pub struct Metrics {
    /// One for each prefix of names.
    registries: Vec<Registry>,
}

impl Metrics {
    /// A registry whose names begin with `socklb_`, with the agent's version only; `register` adds the rest.
    pub fn new(register: impl FnOnce(&mut Registry)) -> Self {
        let mut registry = Registry::with_prefix("socklb");
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The agent", version);
        register(&mut registry);
        Self {
            registries: vec![registry],
        }
    }

    /// Adds metrics whose names begin with another prefix.
    #[must_use]
    pub fn with(mut self, prefix: &str, register: impl FnOnce(&mut Registry)) -> Self {
        let mut registry = Registry::with_prefix(prefix);
        register(&mut registry);
        self.registries.push(registry);
        self
    }

    /// The metrics in a format.
    ///
    /// # Errors
    /// None in practice: writing to a string does not fail.
    pub fn text(&self, format: TextFormat) -> Result<String, fmt::Error> {
        match format {
            TextFormat::OpenMetrics => {
                let mut text = String::new();
                self.encode(&mut text)?;
                encode_eof(&mut text)?;
                Ok(text)
            }
            TextFormat::Prometheus => {
                let mut text = PrometheusText::default();
                self.encode(&mut text)?;
                Ok(text.into_text())
            }
        }
    }

    fn encode(&self, writer: &mut impl fmt::Write) -> fmt::Result {
        self.registries
            .iter()
            .try_for_each(|registry| encode_registry(writer, registry))
    }
}
