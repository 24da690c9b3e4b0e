//! What the rules count.

use super::found::FoundChain;
use super::repair::has_rules;
use super::ruleset::{Chain, Counted};

/// Since the rules were made; a repair of their chain begins anew. Only `invalid` counts packets of open connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// TCP connections and UDP flows that were sent to a backend.
    pub connections_ipv4: u64,
    pub connections_ipv6: u64,
    /// Refused: no usable endpoint, or an unknown port of a ClusterIP.
    pub rejected: u64,
    /// Dropped: Local traffic policy, and no endpoint on this node.
    pub dropped_local: u64,
    /// Dropped: outside of `loadBalancerSourceRanges`.
    pub dropped_out_of_range: u64,
    /// Dropped: the chosen backend was not in the maps.
    pub dropped_without_backend: u64,
    /// Forwarded TCP packets that conntrack calls invalid, dropped.
    pub invalid: u64,
}

impl Counters {
    /// Reads those chains that are as they should be.
    pub fn of(wanted: &[Chain], found: &[FoundChain]) -> Self {
        let mut counters = Self::default();
        for chain in wanted {
            let found = found.iter().find(|found| *found.name == *chain.name);
            let Some(found) = found.filter(|found| has_rules(found, chain)) else {
                continue;
            };
            for (rule, found) in chain.rules.iter().zip(&found.rules) {
                if let Some(counted) = rule.counts {
                    *counters.of_kind(counted) += found.packets;
                }
            }
        }
        counters
    }

    const fn of_kind(&mut self, counted: Counted) -> &mut u64 {
        match counted {
            Counted::ConnectionIpv4 => &mut self.connections_ipv4,
            Counted::ConnectionIpv6 => &mut self.connections_ipv6,
            Counted::Rejected => &mut self.rejected,
            Counted::DroppedLocal => &mut self.dropped_local,
            Counted::DroppedOutOfRange => &mut self.dropped_out_of_range,
            Counted::DroppedWithoutBackend => &mut self.dropped_without_backend,
            Counted::Invalid => &mut self.invalid,
        }
    }
}
