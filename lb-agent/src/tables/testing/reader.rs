//! The choices of the kernel programs: an independent walk over the same words.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use lb_common::view::{own_cell, slot_of};
use lb_common::{Backend, FrontendKey, SlotRun, View};

use super::memory::State;
use crate::policy::{Algorithm, ServicePort};
use crate::tables::backing::Table;
use crate::tables::encode;

/// The backends of a frontend, each with the number of its slots, or with 1 in a Maglev table; none if it is not a frontend. Weights
/// in tests are few enough for exact shares.
pub type Choice = Option<BTreeMap<SocketAddr, usize>>;

/// More slots than any view without a Maglev table has.
const MOST_WEIGHTED: usize = 60;

/// Stands for a frontend as packets from outside see it: with `externalTrafficPolicy: Local` they have another view.
#[must_use]
pub const fn outside(key: &FrontendKey) -> FrontendKey {
    FrontendKey { zero: 1, ..*key }
}

/// The frontend that a key stands for.
#[must_use]
pub const fn frontend_of(key: &FrontendKey) -> FrontendKey {
    FrontendKey { zero: 0, ..*key }
}

/// The choices of a reader that runs now without interruption.
///
/// `key`: a frontend's, or the result of [`outside`].
pub fn choice(state: &State, key: &FrontendKey) -> Choice {
    let index = view_of(state, key)?;
    let words = std::array::from_fn(|word| state.load(Table::Views, index, word));
    let view: View = bytemuck::must_cast::<[u64; View::WORDS], _>(words);
    let run = SlotRun::from_word(view.slots);
    let mut backends = BTreeMap::new();
    for slot in 0..run.length {
        let number = run.cell(slot);
        if let Some((owner, _)) = own_cell(number) {
            assert_eq!(owner, index, "another view's own cell");
        }
        let id = slot_of(cell(state, number), slot);
        let words = std::array::from_fn(|word| state.load(Table::Backends, id, word));
        let backend: Backend = bytemuck::must_cast::<[u64; Backend::WORDS], _>(words);
        assert_eq!(
            backend.service_port, view.service_port,
            "a slot names another service port's backend"
        );
        let address = encode::socket_address(backend.address, backend.port);
        if let Some(nat) = &state.nat {
            assert_eq!(nat.get(&id), Some(&address), "NAT of backend {id}");
        }
        *backends.entry(address).or_insert(0) += 1;
    }
    if run.length as usize > MOST_WEIGHTED {
        let shares = || backends.values().copied();
        // Of the weights in tests.
        let most = shares().min().map(|least| 6 * (least + 1));
        assert!(shares().max() <= most, "no Maglev table: {backends:?}");
        backends.values_mut().for_each(|share| *share = 1);
    }
    Some(backends)
}

/// The index of the view that a frontend has.
///
/// `key`: as in [`choice`].
pub fn view_of(state: &State, key: &FrontendKey) -> Option<u32> {
    let is_outside = *key == outside(key);
    let key = &frontend_of(key);
    let target = state.frontends.get(key)?.read(key.tag())?;
    let words = std::array::from_fn(|word| state.load(Table::FrontendList, target.frontend, word));
    let entry: lb_common::FrontendEntry = bytemuck::must_cast::<[u64; 3], _>(words);
    assert_eq!(
        (entry.address, entry.port, entry.protocol),
        (key.address, key.port, key.protocol),
        "getpeername would say something else"
    );
    match is_outside {
        true => (entry.outside_view != 0).then_some(entry.outside_view),
        false => Some(target.view),
    }
}

/// The contents of a cell, of SLOTS or of a view.
pub fn cell(state: &State, number: u32) -> u64 {
    match own_cell(number) {
        Some((view, place)) => state.load(Table::Views, view, View::CELLS_WORD + place),
        None => state.load(Table::Slots, number, 0),
    }
}

/// The choices that the policy wants, by frontend.
pub fn wanted<'a>(
    ports: impl Iterator<Item = &'a ServicePort>,
) -> BTreeMap<FrontendKey, BTreeMap<SocketAddr, usize>> {
    let mut wanted = BTreeMap::new();
    for port in ports {
        for frontend in &port.frontends {
            let Some(key) = encode::frontend_key(frontend, port.key.protocol) else {
                continue;
            };
            let is_internal = frontend.kind == crate::policy::FrontendKind::ClusterIp;
            let chosen = shares(port, |b| if is_internal { b.internal } else { b.external });
            wanted.insert(key, chosen);
            if port.external_local && frontend.is_reached_from_outside() {
                wanted.insert(outside(&key), shares(port, |b| b.outside));
            }
        }
    }
    wanted
}

/// The backends of a view, with the smallest numbers of slots that have the ratios of their weights.
fn shares(
    port: &ServicePort,
    is_in: impl Fn(&crate::policy::Backend) -> bool,
) -> BTreeMap<SocketAddr, usize> {
    let backends = port.backends.iter().filter(|b| is_in(b));
    let weight = |b: &crate::policy::Backend| match port.algorithm {
        Algorithm::Maglev => 1,
        _ => usize::from(b.weight) * usize::from(b.tenths),
    };
    let mut shares: BTreeMap<SocketAddr, usize> =
        backends.map(|b| (b.address, weight(b))).collect();
    let divides = |divisor: &usize| shares.values().all(|share| share % divisor == 0);
    let least = shares.values().copied().min().unwrap_or(1);
    let divisor = (1..=least).rev().find(divides).unwrap_or(1);
    shares.values_mut().for_each(|share| *share /= divisor);
    shares
}
