//! The health of this node as a proxy, for load balancers: `/healthz` and `/livez` as kube-proxy answers them
//! (pkg/proxy/healthcheck/proxy_health.go), and a health check for each Service with the policy Local (service_health.go).
//!
//! The main loop reports to a [`HealthReporter`]. A thread of its own, [`HealthServers`], answers from the last report.

mod checks;
mod listener;
mod node;
mod proxy_health;
mod reporter;
mod routes;
mod servers;
#[cfg(test)]
mod tests;

pub use self::checks::HealthChecks;
pub use self::node::NodeEligibility;
pub use self::reporter::{HealthReporter, HealthView};
pub use self::servers::{HealthServers, HealthServersError, HealthSettings};
