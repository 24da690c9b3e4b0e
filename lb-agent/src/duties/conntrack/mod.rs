//! Deletes conntrack entries of UDP flows whose endpoint has stopped serving, so that the next datagram goes to another one
//! (kube-proxy: pkg/proxy/conntrack/cleanup.go).
//!
//! A UDP flow has no end that the kernel sees. As long as a client sends from one port, its entry leads to the endpoint that
//! was chosen first.
//!
//! [`NewFlows`] reports new entries, for the comparison of shadow mode.

mod cleaner;
mod ctnetlink;
mod flow;
mod new_flows;
mod stale;

pub use self::cleaner::{Cleaned, CleanerAnswer, ConntrackCleaner};
pub use self::ctnetlink::{Conntrack, ConntrackError};
pub use self::flow::{Flow, NewFlow, Tuple};
pub use self::new_flows::{Arrival, NewFlows};
pub use self::stale::StaleRule;
