//! The NAT maps of netfilter: each backend's id and address.

use std::collections::HashMap;
use std::net::SocketAddr;

use super::super::model::Model;
use super::step::{Plan, Step};

/// Adds missing elements to the NAT maps, and removes unknown ones. A quarantined id keeps its element: a packet may carry its verdict.
///
/// `found`: all their elements. Returns how many differ.
pub fn repair_nat(model: &Model, found: &[(u32, SocketAddr)], plan: &mut Plan) -> usize {
    let mut found: HashMap<u32, SocketAddr> = found.iter().copied().collect();
    let differs = |(id, address): &(u32, SocketAddr)| found.remove(id) != Some(*address);
    let missing: Vec<_> = model.nat().filter(differs).collect();
    for id in model.quarantine.backends() {
        found.remove(&id);
    }
    let unknown: Vec<u32> = found.into_keys().collect();
    let number = missing.len() + unknown.len();
    if !missing.is_empty() {
        plan.push(Step::PutNat(missing));
    }
    if !unknown.is_empty() {
        plan.push(Step::RemoveNat(unknown));
    }
    number
}
