//! Takes over and uses tables with arbitrary contents; `fuzz/` supplies the bytes.

use std::collections::{BTreeSet, HashSet};

use arbitrary::Arbitrary;
use lb_common::view::banks;
use lb_common::{
    Backend as BackendLine, FrontendEntry, FrontendKey, FrontendValue, Pair, SlotRun, Target, View,
    config,
};

use super::accounts::{check_allocators, grace};
use super::checks::{check_reads_back, check_served};
use super::memory::Memory;
use super::world::{World, backend, frontend, port};
use crate::catalog::Protocol;
use crate::policy::{Algorithm, Frontend, FrontendKind, ServicePort, ServicePortKey, Update};
use crate::tables::backing::Table;
use crate::tables::{Tables, encode};

/// The contents of the tables, and the Services that they are to serve.
#[derive(Arbitrary, Debug)]
pub struct Anything {
    lengths: [u8; 4],
    /// The tables of an earlier agent before arbitrary words were written into them.
    before: Vec<Service>,
    scribbles: Vec<Scribble>,
    elements: Vec<Element>,
    entries: Vec<Entry>,
    /// Applied one after the other, then an empty one.
    worlds: [Vec<Service>; 2],
    /// As bits: the sockets that the sweep finds closed.
    gone: u8,
}

#[derive(Arbitrary, Debug)]
struct Service {
    number: u8,
    cluster_ip: u8,
    is_ipv6: bool,
    external_ip: Option<u8>,
    has_node_port: bool,
    is_external_local: bool,
    algorithm: u8,
    affinity_seconds: Option<u16>,
    backends: Vec<Endpoint>,
}

#[derive(Arbitrary, Debug)]
struct Endpoint {
    number: u8,
    weight: u8,
    internal: bool,
    external: bool,
    outside: bool,
    serving: bool,
    watched: bool,
}

/// A word of an array.
#[derive(Arbitrary, Debug)]
struct Scribble {
    table: u8,
    index: u8,
    word: u8,
    value: Value,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Value {
    Any(u64),
    Small(u8, u8),
    /// A backend's port and service port id.
    Owner(u8),
    Address(u8),
    Run(u8, u8),
    OwnRun(u8, bool, u8),
}

impl Value {
    fn word(self, word: usize) -> u64 {
        match self {
            Self::Any(value) => value,
            Self::Small(low, high) => u64::from(high) << 32 | u64::from(low),
            Self::Owner(of) => u64::from(8080_u16.to_be()) << 32 | u64::from(of),
            Self::Address(number) => {
                let address = encode::address(backend(number % 8).address.ip());
                let words: [u64; 2] = bytemuck::must_cast(address);
                words[word % 2]
            }
            Self::Run(base, length) => SlotRun {
                base: base.into(),
                length: length.into(),
            }
            .to_word(),
            Self::OwnRun(view, bank, length) => SlotRun {
                base: banks(view.into())[usize::from(bank)],
                length: length.into(),
            }
            .to_word(),
        }
    }
}

/// An element of FRONTENDS.
#[derive(Arbitrary, Debug)]
struct Element {
    is_guard: bool,
    is_external: bool,
    number: u8,
    /// The parts of a key that are 0 in every valid key.
    zero: u8,
    view: u8,
    frontend: u8,
    /// None: the tag of its key.
    tag: Option<u32>,
    /// FRONTEND_LIST contains the same.
    is_listed: bool,
    kind: u8,
}

#[derive(Arbitrary, Debug)]
struct Entry {
    cookie: u8,
    frontend: u8,
    backend: u8,
}

impl Anything {
    /// Takes the tables over, applies two worlds, and then an empty one.
    ///
    /// # Panics
    /// If the tables do not serve a world, if an id or a cell is lost or used twice, and at a store outside of a
    /// table.
    pub fn check(&self) {
        let mut tables = Tables::recover(self.image()).expect("memory can be read");
        let mut before = World::new();
        let worlds = [world(&self.worlds[0]), world(&self.worlds[1]), World::new()];
        for (turn, after) in worlds.into_iter().enumerate() {
            let refused = tables.apply(change(&before, &after));
            let refused: HashSet<ServicePortKey> = refused
                .into_iter()
                .map(|refused| refused.port.key)
                .collect();
            if turn == 0 {
                check_allocators(&tables);
                tables.settle();
            }
            for round in 0..2 {
                if refused.is_empty() {
                    check_reads_back(&tables, &after);
                } else {
                    let ports = after.values();
                    check_served(&tables, ports.filter(|port| !refused.contains(&port.key)));
                }
                check_allocators(&tables);
                if round == 0 {
                    grace::<2>(&mut tables);
                    let gone = (0..8).filter(|bit| self.gone >> bit & 1 == 1);
                    tables.sweep(&gone.collect()).expect("memory takes it");
                }
            }
            before = after;
        }
    }

    fn image(&self) -> Memory {
        let [frontends, views, slots, backends] = self.lengths;
        let mut tables = Tables::recover(Memory::new([
            u32::from(frontends % 16) + 1,
            u32::from(views % 12) + 1,
            u32::from(slots),
            u32::from(backends % 32) + 1,
        ]))
        .expect("memory can be read");
        tables.apply(change(&World::new(), &world(&self.before)));
        let mut memory = tables.backing;
        for scribble in &self.scribbles {
            scribble.write(&mut memory);
        }
        let mut guards = 0;
        for element in &self.elements {
            // This many suffice for all frontends and their guards.
            guards += usize::from(element.is_guard);
            if !element.is_guard || guards <= 2 {
                element.write(&mut memory);
            }
        }
        let entries = self.entries.iter().map(|entry| {
            let pair = Pair {
                frontend: entry.frontend.into(),
                backend: entry.backend.into(),
                has_flows: false,
            };
            (u64::from(entry.cookie % 8), pair)
        });
        memory.state.entries = entries.collect();
        memory
    }
}

impl Scribble {
    fn write(&self, memory: &mut Memory) {
        let [frontends, views, slots, backends] = memory.lengths;
        let (table, length, words) = match self.table % 5 {
            0 => (Table::FrontendList, frontends, FrontendEntry::WORDS),
            1 => (Table::Views, views, View::WORDS),
            2 => (Table::Slots, slots, 1),
            3 => (Table::Backends, backends, BackendLine::WORDS),
            _ => (Table::Config, config::WORDS, 1),
        };
        if length > 0 {
            let (index, word) = (
                u32::from(self.index) % length,
                usize::from(self.word) % words,
            );
            let value = self.value.word(word);
            memory.state.words.insert((table, index, word), value);
        }
    }
}

impl Element {
    fn write(&self, memory: &mut Memory) {
        let kind = if self.is_external {
            FrontendKind::ExternalIp
        } else {
            FrontendKind::ClusterIp
        };
        let Some(mut key) = encode::frontend_key(&frontend(kind, self.number % 8), Protocol::Tcp)
        else {
            return;
        };
        if self.is_guard {
            key = FrontendKey::new(key.address, 0, 0);
        }
        key.zero = self.zero;
        let target = Target {
            view: self.view.into(),
            frontend: self.frontend.into(),
            is_host_only: false,
            has_source_ranges: false,
        };
        let value = match self.tag.map(u64::from) {
            None => FrontendValue::new(&key, target),
            Some(tag) => FrontendValue::from_words(
                tag << 32 | u64::from(target.view),
                tag << 32 | u64::from(target.frontend),
            ),
        };
        if self.is_listed && target.frontend < memory.lengths[0] {
            let entry = encode::frontend_entry(&key, self.kind % 6, u32::from(self.kind / 16));
            let words: [u64; FrontendEntry::WORDS] = bytemuck::must_cast(entry);
            for (word, value) in words.into_iter().enumerate() {
                let place = (Table::FrontendList, target.frontend, word);
                memory.state.words.insert(place, value);
            }
        }
        memory.state.frontends.insert(key, value);
    }
}

/// Every service port in its current state, changed or not: refused ones are retried.
fn change(from: &World, to: &World) -> Update {
    let is_gone = |key: &&ServicePortKey| !to.contains_key(*key);
    Update {
        changed: to.values().cloned().collect(),
        removed: from.keys().filter(is_gone).cloned().collect(),
        ..Update::default()
    }
}

/// As the policy would return it: each frontend once, and backends sorted without duplicates.
fn world(services: &[Service]) -> World {
    let mut taken = BTreeSet::new();
    let services = services
        .iter()
        .take(6)
        .map(|service| service.port(&mut taken));
    services.map(|port| (port.key.clone(), port)).collect()
}

impl Service {
    fn port(&self, taken: &mut BTreeSet<Frontend>) -> ServicePort {
        let mut port = port(self.number % 6, Vec::new());
        port.external_local = self.is_external_local;
        port.algorithm = Algorithm::NAMES[usize::from(self.algorithm) % 4].1;
        port.affinity_seconds = self.affinity_seconds.map(u32::from);
        port.backends = self
            .backends
            .iter()
            .take(12)
            .map(Endpoint::backend)
            .collect();
        port.backends.sort_by_key(|backend| backend.address);
        port.backends.dedup_by_key(|backend| backend.address);
        let mut cluster_ip = frontend(FrontendKind::ClusterIp, self.cluster_ip % 8);
        if self.is_ipv6 {
            let last = u16::from(self.cluster_ip % 8);
            cluster_ip.address = Some([0xfd00, 0, 0, 0, 0, 0, 0, last].into());
        }
        let mut wanted = vec![cluster_ip];
        let external_ip = self.external_ip.map(|number| number % 8);
        wanted.extend(external_ip.map(|number| frontend(FrontendKind::ExternalIp, number)));
        if self.has_node_port {
            wanted.extend([[10, 0, 0, 1], [127, 0, 0, 1]].map(|address| Frontend {
                kind: FrontendKind::NodePort,
                address: Some(address.into()),
                port: 30_000 + u16::from(self.number % 6),
            }));
        }
        wanted.retain(|frontend| taken.insert(frontend.clone()));
        wanted.sort();
        port.frontends = wanted;
        port
    }
}

impl Endpoint {
    fn backend(&self) -> crate::policy::Backend {
        crate::policy::Backend {
            weight: u16::from(self.weight % 4) + 1,
            internal: self.internal,
            external: self.external,
            outside: self.outside,
            serving: self.serving,
            watched: self.watched,
            ..backend(self.number % 12)
        }
    }
}

#[cfg(test)]
mod tests {
    use arbitrary::{Arbitrary as _, Unstructured};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        #[test]
        fn tables_with_arbitrary_contents_are_taken_over(
            bytes in prop::collection::vec(any::<u8>(), 0..400),
        ) {
            if let Ok(anything) = Anything::arbitrary_take_rest(Unstructured::new(&bytes)) {
                anything.check();
            }
        }
    }
}
