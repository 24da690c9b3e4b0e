//! Simulates sockets that connect and close while the tables change, as the kernel programs handle them: they are counted, and
//! remember their backend.

use std::collections::BTreeMap;

use lb_common::view::slot_of;
use lb_common::{Backend, FrontendEntry, Pair, SlotRun, View};

use crate::tables::Table;
use crate::tables::model::is_guard;
use crate::tables::testing::{State, cell};

/// The most sockets that are open at once.
const MOST: usize = 8;

/// The sockets, and the words that must stay for them.
#[derive(Clone, Debug)]
pub struct Sockets {
    /// The seed; equal seeds give equal sockets.
    seed: u64,
    /// By cookie.
    open: BTreeMap<u64, Held>,
    /// The `connections` of each backend that any socket ever got.
    connections: BTreeMap<u32, u64>,
}

/// The result of a connect: its frontend, and the backend's address and service port.
#[derive(Clone, Debug)]
struct Held {
    pair: Pair,
    frontend: [u64; FrontendEntry::WORDS],
    backend: [u64; Backend::STATE_WORD],
}

impl Sockets {
    pub const fn new(seed: u64) -> Self {
        Self {
            seed,
            open: BTreeMap::new(),
            connections: BTreeMap::new(),
        }
    }

    /// Randomly connects or closes a socket.
    pub fn act(&mut self, state: &mut State) {
        match self.below(6) {
            0 | 1 if self.open.len() < MOST => self.connect(state),
            2 => {
                let which = self.below(MOST);
                if let Some(&cookie) = self.open.keys().nth(which) {
                    self.close(state, cookie);
                }
            }
            _ => {}
        }
    }

    pub fn close_all(&mut self, state: &mut State) {
        while let Some((&cookie, _)) = self.open.first_key_value() {
            self.close(state, cookie);
        }
    }

    /// Checks that the counts match the sockets, and that each socket keeps its backend. Call it after every store: the count
    /// of a backend may restart when its id is reused.
    pub fn check(&mut self, state: &State) {
        for (id, line) in (0..).zip(state.backends()) {
            let holders = self.open.values().filter(|held| held.pair.backend == id);
            let active = holders.count() as u64;
            assert_eq!(line.active, active, "active of backend {id}");
            let counted = self.connections.get(&id).copied().unwrap_or_default();
            if line.connections != counted {
                assert_eq!(
                    (line.connections, active, line.state),
                    (0, 0, 0),
                    "connections of backend {id}, which were {counted}"
                );
                self.connections.remove(&id);
            }
        }
        for held in self.open.values() {
            let now = Held::of(state, held.pair);
            // Their weight may change.
            let [backend, before] = [now.backend, held.backend].map(|mut words| {
                words[Backend::OWNER_WORD] &= !(0xffff << 48);
                words
            });
            assert_eq!(backend, before, "the backend of {:?}", held.pair);
            // The last word also contains the kind, which may change.
            let [address, rest] = [now.frontend, held.frontend].map(|frontend| {
                let entry: FrontendEntry = bytemuck::must_cast(frontend);
                (entry.address, entry.port, entry.protocol)
            });
            assert_eq!(address, rest, "the frontend of {:?}", held.pair);
        }
    }

    fn connect(&mut self, state: &mut State) {
        let keys = state.frontends.keys().filter(|key| !is_guard(key));
        let number = keys.clone().count();
        let which = self.below(number.max(1));
        let Some(key) = keys.clone().nth(which) else {
            return;
        };
        let target = state.frontends[key].read(key.tag());
        let target = target.expect("a frontend's element says where it goes");
        let slots = state.load(Table::Views, target.view, View::SLOTS_WORD);
        let run = SlotRun::from_word(slots);
        if run.length == 0 {
            return;
        }
        let slot = u32::try_from(self.below(run.length as usize)).expect("below a u32");
        let pair = Pair {
            frontend: target.frontend,
            backend: slot_of(cell(state, run.cell(slot)), slot),
            has_flows: false,
        };
        self.seed += 1;
        self.open.insert(self.seed, Held::of(state, pair));
        *self.connections.entry(pair.backend).or_default() += 1;
        state.entries.push((self.seed, pair));
        state.add(Table::Backends, pair.backend, Backend::CONNECTIONS_WORD, 1);
        state.add(Table::Backends, pair.backend, Backend::ACTIVE_WORD, 1);
    }

    fn close(&mut self, state: &mut State, cookie: u64) {
        if let Some(held) = self.open.remove(&cookie) {
            state.entries.retain(|&(of, _)| of != cookie);
            let backend = held.pair.backend;
            state.add(Table::Backends, backend, Backend::ACTIVE_WORD, u64::MAX);
        }
    }

    /// The next number of the series (SplitMix64).
    fn below(&mut self, length: usize) -> usize {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut number = self.seed;
        number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        let number = usize::try_from((number ^ number >> 31) >> 32).expect("32 bits");
        number % length
    }
}

impl Held {
    fn of(state: &State, pair: Pair) -> Self {
        Self {
            pair,
            frontend: std::array::from_fn(|word| {
                state.load(Table::FrontendList, pair.frontend, word)
            }),
            backend: std::array::from_fn(|word| state.load(Table::Backends, pair.backend, word)),
        }
    }
}
