//! The netfilter side of the packet path: the table `inet socklb`, which applies the verdicts of the program `packet`.
//!
//! The rules never change; the maps have an element for each backend. Everything is written through netlink, so nothing
//! here needs the program `nft`.

mod batch;
mod counters;
mod decode;
mod element;
mod encode;
mod error;
mod expression;
mod found;
mod frame;
mod kube_proxy;
mod map_shape;
mod metrics;
mod names;
mod numbers;
mod part;
mod present;
mod repair;
mod ruleset;
mod socket;
mod table;
mod unload;
mod watch;

pub use self::counters::Counters;
pub use self::error::NetfilterError;
pub use self::kube_proxy::{KubeProxyRules, kube_proxy_rules};
pub use self::metrics::PacketMetrics;
pub use self::part::Part;
pub use self::ruleset::{MASQUERADE_MARK, Ruleset};
pub use self::table::{Netfilter, Repaired, elements};
pub use self::unload::unload;
pub use self::watch::Watch;
