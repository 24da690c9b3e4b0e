//! The words of CONFIG.

use std::net::IpAddr;

use ipnet::IpNet;
use lb_common::Address;
use lb_common::config::{
    CLUSTER_CIDRS, MOST_CIDRS, PACKET_FLAGS, SERVICE_CIDRS, cidr, first_half, last_half,
    packet_flag,
};

use super::super::backing::Table;
use super::super::encode;
use super::super::model::Model;
use super::guards::prefixes;
use super::rows::{self, config_word};
use super::step::Plan;

/// Refuses addresses within these Service CIDRs that no Service has; none: refuses nothing. The number of CIDRs is 0 while
/// their words change. Only the first [`MOST_CIDRS`] count.
pub fn refuse_unknown(model: &mut Model, service_cidrs: &[IpNet], plan: &mut Plan) {
    if model.guards.service_cidrs.as_deref() == Some(service_cidrs) {
        return;
    }
    for cidr in service_cidrs {
        model.guards.cover(encode::address(cidr.network()));
        model.guards.cover(encode::address(cidr.broadcast()));
    }
    plan.extend(config_word(model, SERVICE_CIDRS, 0));
    prefixes(model, plan);
    cidrs(model, SERVICE_CIDRS, service_cidrs, plan);
    model.guards.service_cidrs = Some(service_cidrs.to_vec());
}

/// What the packet path has to know. `cluster_cidrs`: the ranges of pods; only the first [`MOST_CIDRS`] count.
pub fn packet_path(model: &Model, cluster_cidrs: &[IpNet], masquerades_all: bool, plan: &mut Plan) {
    cidrs(model, CLUSTER_CIDRS, cluster_cidrs, plan);
    let bit = |is_set: bool, bit: u64| if is_set { bit } else { 0 };
    let has = |is_ipv4: bool| {
        let mut cidrs = cluster_cidrs.iter().take(MOST_CIDRS as usize);
        cidrs.any(|cidr| cidr.addr().is_ipv4() == is_ipv4)
    };
    let flags = bit(masquerades_all, packet_flag::MASQUERADE_ALL)
        | bit(has(true), packet_flag::IPV4_PODS_KNOWN)
        | bit(has(false), packet_flag::IPV6_PODS_KNOWN);
    plan.extend(config_word(model, PACKET_FLAGS, flags));
}

/// The words of a list of CIDRs. Its number is 0 while they change.
fn cidrs(model: &Model, list: u32, wanted: &[IpNet], plan: &mut Plan) {
    let wanted: Vec<&IpNet> = wanted.iter().take(MOST_CIDRS as usize).collect();
    let mut changed = Plan::new();
    for (index, net) in (0..).zip(&wanted) {
        for (word, value) in (cidr(list, index)..).zip(words(net)) {
            changed.extend(config_word(model, word, value));
        }
    }
    let number = wanted.len() as u64;
    if changed.is_empty() && model.config[list as usize] == number {
        return;
    }
    plan.extend(config_word(model, list, 0));
    plan.append(&mut changed);
    if number > 0 {
        plan.push(rows::store(Table::Config, list, 0, number));
    }
}

/// See [`lb_common::config::cidr`].
fn words(net: &IpNet) -> [u64; 4] {
    let (mask, network) = (mask(net), encode::address(net.network()));
    [
        first_half(mask),
        last_half(mask),
        first_half(network),
        last_half(network),
    ]
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
