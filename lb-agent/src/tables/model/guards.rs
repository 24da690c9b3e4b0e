//! Guards: ClusterIPs refuse the ports that they do not have and, where asked for, Service CIDRs refuse the addresses that
//! no Service has.
//!
//! The guard of an address is an element of FRONTENDS with port and protocol 0. The programs look it up only after a miss,
//! and only within the prefixes in CONFIG. These cover all guarded addresses and as little else as a prefix can.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use lb_common::config::first_half;
use lb_common::frontend::guard::{PASS, REFUSE};
use lb_common::{Address, FrontendKey, FrontendValue, Target, is_mapped};

use super::super::encode;
use super::prefix::{Prefix, in_order};
use crate::policy::{ServicePort, ServicePortKey, Update};

/// The guards that the tables have, and what decides which ones they should have.
#[derive(Debug, Default)]
pub struct Guards {
    /// The guards in FRONTENDS: one of [`lb_common::frontend::guard`] by address.
    pub in_place: BTreeMap<Address, u32>,
    /// Addresses whose guard may have to change.
    pub changed: BTreeSet<Address>,
    /// The prefixes that cover all guarded addresses, by family.
    pub ipv4: Prefix,
    pub ipv6: Prefix,
    /// None: an earlier agent's, unknown yet.
    pub service_cidrs: Option<Vec<IpNet>>,
    /// The number of frontends by ClusterIP.
    frontends: BTreeMap<Address, usize>,
    /// The ClusterIPs of service ports that the tables could not take: another balancer may serve them.
    unfit: BTreeMap<ServicePortKey, Vec<Address>>,
    /// How many of these have an address.
    unfit_addresses: BTreeMap<Address, usize>,
    /// Addresses in Service CIDRs that a Service has, served by this agent or another proxy.
    named: BTreeSet<Address>,
}

impl Guards {
    /// The guards that an earlier agent left.
    #[must_use]
    pub fn found(in_place: BTreeMap<Address, u32>) -> Self {
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

    /// A ClusterIP has one more frontend.
    pub fn add_frontend(&mut self, address: Address) {
        *self.frontends.entry(address).or_insert(0) += 1;
        self.changed.insert(address);
    }

    /// A ClusterIP has one frontend fewer.
    pub fn remove_frontend(&mut self, address: Address) {
        if let Some(number) = self.frontends.get_mut(&address) {
            *number -= 1;
            if *number == 0 {
                self.frontends.remove(&address);
            }
        }
        self.changed.insert(address);
    }

    /// The tables do not contain a service port as they should.
    pub fn add_unfit(&mut self, port: &ServicePort) {
        self.remove_unfit(&port.key);
        let addresses: Vec<Address> = port
            .frontends
            .iter()
            .filter_map(|frontend| frontend.address)
            .map(encode::address)
            .collect();
        self.changed.extend(&addresses);
        for &address in &addresses {
            *self.unfit_addresses.entry(address).or_insert(0) += 1;
        }
        self.unfit.insert(port.key.clone(), addresses);
    }

    /// The tables contain a service port as they should, or it is no longer wanted.
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

    /// Notes which addresses Services have.
    pub fn name(&mut self, update: &Update) {
        for &address in &update.unnamed {
            let address = encode::address(address);
            self.named.remove(&address);
            self.changed.insert(address);
        }
        for &address in &update.named {
            let address = encode::address(address);
            self.named.insert(address);
            self.changed.insert(address);
        }
    }

    /// The guard that an address should have, if any.
    #[must_use]
    pub fn wanted(&self, address: &Address) -> Option<u32> {
        if self.frontends.contains_key(address) && !self.unfit_addresses.contains_key(address) {
            return Some(REFUSE);
        }
        self.named.contains(address).then_some(PASS)
    }

    /// Widens the prefix of the address's family so that it covers the address.
    pub fn cover(&mut self, address: Address) {
        if is_mapped(address) {
            self.ipv4.cover(u64::from(u32::from_be(address[3])) << 32);
        } else {
            self.ipv6.cover(in_order(first_half(address)));
        }
    }
}

/// The key of an address's guard.
#[must_use]
pub const fn guard_key(address: Address) -> FrontendKey {
    FrontendKey::new(address, 0, 0)
}

/// Whether a key is a guard's.
#[must_use]
pub const fn is_guard(key: &FrontendKey) -> bool {
    key.port == 0 && key.protocol == 0
}

/// `verdict`: one of [`lb_common::frontend::guard`].
#[must_use]
pub const fn guard_value(address: Address, verdict: u32) -> FrontendValue {
    let target = Target {
        has_source_ranges: false,
        view: 0,
        frontend: verdict,
        is_host_only: false,
    };
    FrontendValue::new(&guard_key(address), target)
}
