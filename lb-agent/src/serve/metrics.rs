//! The registry of metrics, and their text for Prometheus.

use prometheus_client::encoding::text::{encode, encode_registry};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::text_format::{PrometheusText, TextFormat};

/// The metrics of an agent; their names begin with `socklb_`.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
}

impl Metrics {
    /// A registry with the agent's version only; `register` adds the rest.
    pub fn new(register: impl FnOnce(&mut Registry)) -> Self {
        let mut registry = Registry::with_prefix("socklb");
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The agent", version);
        register(&mut registry);
        Self { registry }
    }

    /// The metrics in a format.
    ///
    /// # Errors
    /// None in practice: writing to a string does not fail.
    pub fn text(&self, format: TextFormat) -> Result<String, std::fmt::Error> {
        match format {
            TextFormat::OpenMetrics => {
                let mut text = String::new();
                encode(&mut text, &self.registry)?;
                Ok(text)
            }
            TextFormat::Prometheus => {
                let mut text = PrometheusText::default();
                encode_registry(&mut text, &self.registry)?;
                Ok(text.into_text())
            }
        }
    }
}
