//! ClusterIPs that refuse the ports that they do not have.
//!
//! Each has an element of FRONTENDS with port and protocol 0. The programs look for it only after a miss, and only
//! inside of the nets in CONFIG, which cover all guarded addresses and as little else as a prefix can.

use std::collections::{BTreeMap, BTreeSet};

use lb_common::config::{GUARDED_IPV4, GUARDED_IPV6, first_half};
use lb_common::{Address, FrontendKey, FrontendValue, Target, is_mapped};

use super::{Backing, Table, Tables};

/// Which addresses are guarded, and how many frontends each has.
#[derive(Debug, Default)]
pub struct Guards {
    frontends: BTreeMap<Address, usize>,
    /// Those that have their element.
    pub in_place: BTreeSet<Address>,
    /// Those that may need one, or no longer.
    changed: BTreeSet<Address>,
    ipv4: Net,
    ipv6: Net,
}

impl Guards {
    /// What an earlier agent left.
    pub fn recovered(in_place: BTreeSet<Address>) -> Self {
        let mut guards = Self {
            changed: in_place.clone(),
            ..Self::default()
        };
        for &address in &in_place {
            guards.cover(address);
        }
        guards.in_place = in_place;
        guards
    }

    /// A ClusterIP has one frontend more.
    pub fn add(&mut self, address: Address) {
        *self.frontends.entry(address).or_insert(0) += 1;
        self.changed.insert(address);
    }

    /// A ClusterIP has one frontend less.
    pub fn remove(&mut self, address: Address) {
        if let Some(number) = self.frontends.get_mut(&address) {
            *number -= 1;
            if *number == 0 {
                self.frontends.remove(&address);
            }
        }
        self.changed.insert(address);
    }

    /// Widens the net of the address's family so that it covers the address.
    fn cover(&mut self, address: Address) {
        if is_mapped(address) {
            self.ipv4.cover(u64::from(u32::from_be(address[3])) << 32);
        } else {
            self.ipv6.cover(in_order(first_half(address)));
        }
    }
}

/// The key of an address's guard.
pub const fn key(address: Address) -> FrontendKey {
    FrontendKey::new(address, 0, 0)
}

/// Whether a key is a guard's.
pub const fn is_guard(key: &FrontendKey) -> bool {
    key.port == 0 && key.protocol == 0
}

impl<B: Backing> Tables<B> {
    /// Guards each ClusterIP that has a frontend, and no other; once all their frontends are in place.
    pub(super) fn settle_guards(&mut self) {
        for address in std::mem::take(&mut self.guards.changed) {
            let wanted = self.guards.frontends.contains_key(&address);
            if wanted == self.guards.in_place.contains(&address) {
                continue;
            }
            let key = key(address);
            let done = if wanted {
                self.guards.cover(address);
                self.store_nets();
                let nothing = Target {
                    view: 0,
                    frontend: 0,
                    is_host_only: false,
                };
                self.backing
                    .put_frontend(&key, &FrontendValue::new(&key, nothing))
            } else {
                self.backing.remove_frontend(&key)
            };
            match done {
                Ok(()) if wanted => drop(self.guards.in_place.insert(address)),
                Ok(()) => drop(self.guards.in_place.remove(&address)),
                Err(error) => tracing::warn!(
                    "unknown ports of {} are not refused: {error}",
                    super::form::socket_address(address, 0).ip()
                ),
            }
        }
    }

    /// Tells the programs the nets.
    pub(super) fn store_nets(&mut self) {
        let (mask, value) = self.guards.ipv4.mask_and_value();
        let half = |bits: u64| u64::from(u32::try_from(bits >> 32).unwrap_or(0).to_be());
        self.store_config(GUARDED_IPV4, half(mask) << 32 | half(value));
        let (mask, value) = self.guards.ipv6.mask_and_value();
        self.store_config(GUARDED_IPV6, in_order(mask));
        self.store_config(GUARDED_IPV6 + 1, in_order(value));
    }

    pub(super) fn store_config(&mut self, word: u32, value: u64) {
        if self.backing.load(Table::Config, word, 0) != value {
            self.backing.store(Table::Config, word, 0, value);
        }
    }
}

/// Between two 32-bit words in network byte order and 64 bits of which the first is the uppermost.
fn in_order(words: u64) -> u64 {
    let swap = |word: u64| u64::from(u32::try_from(word & 0xffff_ffff).unwrap_or(0).to_be());
    swap(words >> 32) << 32 | swap(words)
}

/// A prefix of up to 64 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Net(Option<(u32, u64)>);

impl Net {
    fn cover(&mut self, address: u64) {
        let (length, value) = self.0.unwrap_or((64, address));
        let common = (value ^ address).leading_zeros().min(length);
        self.0 = Some((common, address & mask(common)));
    }

    fn mask_and_value(self) -> (u64, u64) {
        self.0
            .map_or((0, u64::MAX), |(length, value)| (mask(length), value))
    }
}

const fn mask(length: u32) -> u64 {
    match u64::MAX.checked_shl(64 - length) {
        Some(mask) => mask,
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::Net;

    #[test]
    fn a_net_covers_what_it_was_given_and_little_else() {
        let mut net = Net::default();
        assert_eq!(net.mask_and_value(), (0, u64::MAX));
        net.cover(0x0a60_000a << 32);
        assert_eq!(net.mask_and_value(), (u64::MAX, 0x0a60_000a << 32));
        net.cover(0x0a60_0001 << 32);
        assert_eq!(net.mask_and_value().0 >> 32, 0xffff_fff0);
        net.cover(0xac1e_0001 << 32);
        assert_eq!(net.mask_and_value(), (0, 0));
    }
}
