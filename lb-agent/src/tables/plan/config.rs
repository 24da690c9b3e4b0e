//! The words of CONFIG.

use std::net::IpAddr;

use ipnet::IpNet;
use lb_common::Address;
use lb_common::config::{MOST_SERVICE_CIDRS, SERVICE_CIDRS, first_half, last_half, service_cidr};

use super::super::backing::Table;
use super::super::encode;
use super::super::model::Model;
use super::guards::prefixes;
use super::rows;
use super::step::{Plan, Step};

/// A word of CONFIG, if it has another value.
#[must_use]
pub fn config_word(model: &Model, word: u32, value: u64) -> Option<Step> {
    let held = model.config.get(word as usize);
    held.is_some_and(|&held| held != value)
        .then(|| rows::store(Table::Config, word, 0, value))
}

/// Refuses addresses within these Service CIDRs that no Service has; none: refuses nothing. The number of CIDRs is 0 while
/// their words change. Only the first [`MOST_SERVICE_CIDRS`] count.
pub fn refuse_unknown(model: &mut Model, service_cidrs: &[IpNet], plan: &mut Plan) {
    if model.guards.service_cidrs.as_deref() == Some(service_cidrs) {
        return;
    }
    plan.extend(config_word(model, SERVICE_CIDRS, 0));
    for cidr in service_cidrs {
        model.guards.cover(encode::address(cidr.network()));
        model.guards.cover(encode::address(cidr.broadcast()));
    }
    prefixes(model, plan);
    let mut number = 0;
    for (index, cidr) in (0..MOST_SERVICE_CIDRS).zip(service_cidrs) {
        let mask = mask(cidr);
        let network = encode::address(cidr.network());
        let words = [
            first_half(mask),
            last_half(mask),
            first_half(network),
            last_half(network),
        ];
        for (word, value) in (service_cidr(index)..).zip(words) {
            plan.extend(config_word(model, word, value));
        }
        number += 1;
    }
    if number > 0 {
        plan.push(rows::store(Table::Config, SERVICE_CIDRS, 0, number));
    }
    model.guards.service_cidrs = Some(service_cidrs.to_vec());
}

/// As an address, of which IPv4 has only the last 32 bits.
fn mask(cidr: &IpNet) -> Address {
    match cidr {
        IpNet::V4(cidr) => {
            let last = u32::from_be_bytes(cidr.netmask().octets());
            [u32::MAX, u32::MAX, u32::MAX, last.to_be()]
        }
        IpNet::V6(cidr) => encode::address(IpAddr::V6(cidr.netmask())),
    }
}
