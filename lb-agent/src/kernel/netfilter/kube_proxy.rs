//! Whether kube-proxy has rules in nf_tables: in its own tables, or in those of iptables-nft.

use netlink_bindings::nftables::{Nfgenmsg, Request};

use super::error::NetfilterError;
use super::found::is_interrupted;
use super::socket::{ATTEMPTS, Netlink};

/// The name of its tables in nftables mode, in the families ip and ip6 (kube-proxy: pkg/proxy/nftables).
const TABLE: &[u8] = b"kube-proxy";

/// The chain of its iptables mode that every packet to a Service passes (kube-proxy: pkg/proxy/iptables).
const CHAIN: &[u8] = b"KUBE-SERVICES";

/// What kube-proxy has, whether it runs or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KubeProxyRules {
    /// Tables of its nftables mode.
    pub has_tables: bool,
    /// Chains of its iptables mode, made by iptables-nft.
    pub has_chains: bool,
}

/// Looks for kube-proxy's rules in the calling thread's network namespace.
///
/// # Errors
/// The kernel has no nf_tables, or CAP_NET_ADMIN is missing.
pub fn kube_proxy_rules() -> Result<KubeProxyRules, NetfilterError> {
    let mut netlink = Netlink::open().map_err(NetfilterError::opening)?;
    for _ in 0..ATTEMPTS {
        let mut rules = KubeProxyRules::default();
        // Of every family.
        let all = Nfgenmsg::new();
        let tables = netlink.ask(&Request::new().op_gettable_dump(&all), |(_, table)| {
            rules.has_tables |= table.get_name().is_ok_and(|name| name.to_bytes() == TABLE);
        });
        let chains = tables.and_then(|()| {
            netlink.ask(&Request::new().op_getchain_dump(&all), |(_, chain)| {
                rules.has_chains |= chain.get_name().is_ok_and(|name| name.to_bytes() == CHAIN);
            })
        });
        match chains {
            Err(error) if is_interrupted(&error) => {}
            Err(error) => return Err(NetfilterError::opening(error)),
            Ok(()) => return Ok(rules),
        }
    }
    Err(NetfilterError::Busy(ATTEMPTS))
}
