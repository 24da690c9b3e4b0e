//! The agent: connects the modules of the crate and runs them until a signal.

mod capacity;
mod change_summary;
mod drift;
mod duties;
mod engine;
mod event_feed;
mod explain;
#[cfg(test)]
mod golden;
mod grace_wait;
mod hand_over;
pub mod heartbeat;
mod kube_proxy_metrics;
mod lists;
mod main_loop;
mod metrics;
mod outliers;
mod packets;
mod page;
mod privileges;
mod problem_log;
mod program_events;
mod refused_ports;
mod run;
mod sampling;
mod service_metrics;
mod service_samples;
mod settings;
mod signals;
mod source;
mod start;
mod state;
mod status;
mod suspects;
mod sweeper;
mod take_over;
mod tenure;
mod terminator;

pub use self::drift::DriftWatch;
pub use self::explain::{Facts, explain_from};
pub use self::kube_proxy_metrics::KubeProxyMetrics;
pub use self::metrics::AgentMetrics;
pub use self::run::run;
pub use self::service_metrics::{MetricsPer, ServiceMetrics};
pub use self::service_samples::{BackendSample, PortName, Samples, ServiceSample};
pub use self::settings::AgentSettings;
