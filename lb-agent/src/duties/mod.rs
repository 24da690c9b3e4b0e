//! What a node expects of kube-proxy besides balancing: answers to load balancers that ask about the node, deletion of UDP
//! flows to endpoints that have stopped serving, and settings of the kernel.
//!
//! All of it runs on threads of its own, or once at the start, so the main loop waits for none of it.

pub mod conntrack;
pub mod health;
mod metrics;
pub mod sysctls;

use std::net::SocketAddr;

pub use self::metrics::DutyMetrics;
use self::sysctls::ConntrackSettings;

/// The settings of the duties.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DutySettings {
    /// The address for `/healthz` and `/livez`, if any.
    pub healthz: Option<SocketAddr>,
    pub conntrack: ConntrackSettings,
}
