//! What becomes of destinations that are no frontends: ClusterIPs refuse the ports that they do not have, and, where
//! asked for, Service CIDRs the addresses that no Service has.
//!
//! An address of which something is to be said has an element of FRONTENDS with port and protocol 0. The programs look
//! for it only after a miss, and only inside of the nets in CONFIG, which cover all guarded addresses and as little else
//! as a prefix can.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use lb_common::config::{
    GUARDED_IPV4, GUARDED_IPV6, MOST_SERVICE_CIDRS, SERVICE_CIDRS, first_half, last_half,
    service_cidr,
};
use lb_common::frontend::guard::{PASS, REFUSE};
use lb_common::{Address, FrontendKey, FrontendValue, Target, is_mapped};

use super::net::{Net, in_order};
use super::{Backing, Table, Tables, form};
use crate::policy::{ServicePort, ServicePortKey, Update};

/// Which addresses are guarded, and how many frontends each has.
#[derive(Debug, Default)]
pub struct Guards {
    /// By ClusterIP.
    frontends: BTreeMap<Address, usize>,
    /// The ClusterIPs of service ports that the tables could not take: somebody else may serve these.
    unfit: BTreeMap<ServicePortKey, Vec<Address>>,
    /// How many of those have an address.
    unfit_addresses: BTreeMap<Address, usize>,
    /// Addresses in Service CIDRs that a Service has, whoever serves it.
    named: BTreeSet<Address>,
    /// Those that have their element, and what it says.
    pub in_place: BTreeMap<Address, u32>,
    /// Those whose element may have to change.
    pub changed: BTreeSet<Address>,
    ipv4: Net,
    ipv6: Net,
    /// None: not known what an earlier agent left.
    service_cidrs: Option<Vec<IpNet>>,
}

impl Guards {
    /// What an earlier agent left.
    pub fn recovered(in_place: BTreeMap<Address, u32>) -> Self {
        let mut guards = Self {
            changed: in_place.keys().copied().collect(),
            ..Self::default()
        };
        for &address in in_place.keys() {
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

    /// A service port is not in the tables as it should be.
    pub fn add_unfit(&mut self, port: &ServicePort) {
        self.remove_unfit(&port.key);
        let addresses: Vec<Address> = port
            .frontends
            .iter()
            .filter_map(|frontend| frontend.address)
            .map(form::address)
            .collect();
        self.changed.extend(&addresses);
        for &address in &addresses {
            *self.unfit_addresses.entry(address).or_insert(0) += 1;
        }
        self.unfit.insert(port.key.clone(), addresses);
    }

    /// A service port is in the tables as it should be, or not wanted any more.
    pub fn remove_unfit(&mut self, key: &ServicePortKey) {
        for address in self.unfit.remove(key).into_iter().flatten() {
            if let Some(number) = self.unfit_addresses.get_mut(&address) {
                *number -= 1;
                if *number == 0 {
                    self.unfit_addresses.remove(&address);
                }
            }
            self.changed.insert(address);
        }
    }

    /// Takes over which addresses Services have.
    pub fn name(&mut self, update: &Update) {
        for &address in &update.unnamed {
            let address = form::address(address);
            self.named.remove(&address);
            self.changed.insert(address);
        }
        for &address in &update.named {
            let address = form::address(address);
            self.named.insert(address);
            self.changed.insert(address);
        }
    }

    /// What is to be said of an address, if anything.
    fn wanted(&self, address: &Address) -> Option<u32> {
        if self.frontends.contains_key(address) && !self.unfit_addresses.contains_key(address) {
            return Some(REFUSE);
        }
        self.named.contains(address).then_some(PASS)
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
    /// Refuses what no Service has in these nets, from now on; none: nothing.
    ///
    /// To be called with nets only while everything is known that Services have. More than
    /// [`MOST_SERVICE_CIDRS`] are not taken.
    pub fn refuse_unknown(&mut self, service_cidrs: &[IpNet]) {
        if self.guards.service_cidrs.as_deref() == Some(service_cidrs) {
            return;
        }
        self.store_config(SERVICE_CIDRS, 0);
        for cidr in service_cidrs {
            self.guards.cover(form::address(cidr.network()));
            self.guards.cover(form::address(cidr.broadcast()));
        }
        self.store_nets();
        let mut number = 0;
        for (index, cidr) in (0..MOST_SERVICE_CIDRS).zip(service_cidrs) {
            let mask = mask(cidr);
            let network = form::address(cidr.network());
            let words = [
                first_half(mask),
                last_half(mask),
                first_half(network),
                last_half(network),
            ];
            for (word, value) in (service_cidr(index)..).zip(words) {
                self.store_config(word, value);
            }
            number += 1;
        }
        self.store_config(SERVICE_CIDRS, number);
        self.guards.service_cidrs = Some(service_cidrs.to_vec());
    }

    /// Says of each address what is to be said of it, once all frontends are in place.
    pub(super) fn settle_guards(&mut self) {
        for address in std::mem::take(&mut self.guards.changed) {
            let wanted = self.guards.wanted(&address);
            if wanted == self.guards.in_place.get(&address).copied() {
                continue;
            }
            let done = match wanted {
                Some(what) => {
                    if what == REFUSE {
                        self.guards.cover(address);
                        self.store_nets();
                    }
                    self.backing
                        .put_frontend(&key(address), &guard_value(address, what))
                }
                None => self.backing.remove_frontend(&key(address)),
            };
            match (done, wanted) {
                (Ok(()), Some(what)) => drop(self.guards.in_place.insert(address, what)),
                (Ok(()), None) => drop(self.guards.in_place.remove(&address)),
                (Err(error), _) => tracing::warn!(
                    "what is to become of other ports of {} is not in the tables: {error}",
                    form::socket_address(address, 0).ip()
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
        if let Some(kept) = self.config.get_mut(word as usize) {
            *kept = value;
        }
        if self.backing.load(Table::Config, word, 0) != value {
            self.backing.store(Table::Config, word, 0, value);
        }
    }
}

pub fn guard_value(address: Address, what: u32) -> FrontendValue {
    let target = Target {
        view: 0,
        frontend: what,
        is_host_only: false,
    };
    FrontendValue::new(&key(address), target)
}

/// As an address, of which IPv4 has only the last 32 bits.
fn mask(cidr: &IpNet) -> Address {
    match cidr {
        IpNet::V4(cidr) => {
            let last = u32::from_be_bytes(cidr.netmask().octets());
            [u32::MAX, u32::MAX, u32::MAX, last.to_be()]
        }
        IpNet::V6(cidr) => form::address(IpAddr::V6(cidr.netmask())),
    }
}
