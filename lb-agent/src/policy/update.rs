//! The differences that [`Policy::update`](super::Policy::update) found.

use std::net::IpAddr;

use super::service_port::{ServicePort, ServicePortKey};

/// The differences that [`Policy::update`](super::Policy::update) found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Update {
    /// New service ports, and changed ones.
    pub changed: Vec<ServicePort>,
    /// Removed service ports.
    pub removed: Vec<ServicePortKey>,
    /// Addresses that a Service has now, whichever proxy serves it. Only addresses in [`Policy::refuse_unknown_in`](super::Policy::refuse_unknown_in).
    pub named: Vec<IpAddr>,
    /// Addresses that no Service has any longer.
    pub unnamed: Vec<IpAddr>,
}
