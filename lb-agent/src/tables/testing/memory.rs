//! Tables in plain memory.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io;
use std::net::SocketAddr;

use lb_common::affinity::Affinity;
use lb_common::{Backend, FrontendEntry, FrontendKey, FrontendValue, Pair, View, config};

use crate::tables::backing::{
    Backing, Copies, Elements, Part, ReadTables, SourcePrefix, Table, Usage,
};

/// The words of all arrays, 0 unless written; cheap to copy.
#[derive(Clone, Debug, Default)]
pub struct Words([Vec<u64>; 5]);

impl Words {
    pub fn insert(&mut self, (table, index, word): (Table, u32, usize), value: u64) {
        let words = &mut self.0[table as usize];
        let place = index as usize * width(table) + word;
        if words.len() <= place {
            words.resize(place + 1, 0);
        }
        words[place] = value;
    }

    /// Each word with its table's number and its position there.
    #[cfg(test)]
    pub fn all(&self) -> impl Iterator<Item = ((usize, usize), u64)> {
        let tables = self.0.iter().enumerate();
        tables.flat_map(|(table, words)| {
            let words = words.iter().enumerate();
            words.map(move |(place, &value)| ((table, place), value))
        })
    }

    pub fn get(&self, &(table, index, word): &(Table, u32, usize)) -> Option<&u64> {
        self.0[table as usize].get(index as usize * width(table) + word)
    }
}

/// The number of words of an element.
const fn width(table: Table) -> usize {
    match table {
        Table::FrontendList => FrontendEntry::WORDS,
        Table::Views => View::WORDS,
        Table::Backends => Backend::WORDS,
        Table::Slots | Table::Config => 1,
    }
}

/// The contents of all tables.
#[derive(Clone, Debug, Default)]
pub struct State {
    pub words: Words,
    pub frontends: BTreeMap<FrontendKey, FrontendValue>,
    pub source_ranges: BTreeSet<SourcePrefix>,
    /// The NAT maps, by backend id; none without a packet path.
    pub nat: Option<BTreeMap<u32, SocketAddr>>,
    /// By client and service port id.
    pub affinities: BTreeMap<(u64, u32), Affinity>,
    /// The entries of sockets: cookie and pair.
    pub entries: Vec<(u64, Pair)>,
}

impl State {
    pub fn load(&self, table: Table, index: u32, word: usize) -> u64 {
        self.words
            .get(&(table, index, word))
            .copied()
            .unwrap_or_default()
    }

    /// Like an atomic instruction of a kernel program.
    pub fn add(&mut self, table: Table, index: u32, word: usize, number: u64) {
        let sum = self.load(table, index, word).wrapping_add(number);
        self.words.insert((table, index, word), sum);
    }

    /// The lines of BACKENDS from 0 to the last one ever written.
    pub fn backends(&self) -> impl Iterator<Item = Backend> {
        let lines = self.words.0[Table::Backends as usize].chunks(Backend::WORDS);
        lines.map(|line| {
            let words = std::array::from_fn(|word| line.get(word).copied().unwrap_or_default());
            bytemuck::must_cast::<[u64; Backend::WORDS], _>(words)
        })
    }
}

#[derive(Clone, Debug)]
pub struct Memory {
    pub state: State,
    pub lengths: [u32; 4],
    /// The number of stores.
    pub stores: usize,
}

impl Memory {
    /// `lengths`: those of FRONTEND_LIST, VIEWS, SLOTS, BACKENDS.
    pub fn new(lengths: [u32; 4]) -> Self {
        Self {
            state: State::default(),
            lengths,
            stores: 0,
        }
    }
}

impl ReadTables for Memory {
    fn length(&self, table: Table) -> u32 {
        match table {
            Table::FrontendList => self.lengths[0],
            Table::Views => self.lengths[1],
            Table::Slots => self.lengths[2],
            Table::Backends => self.lengths[3],
            Table::Config => config::WORDS,
        }
    }

    fn most_frontends(&self) -> u32 {
        2 * self.lengths[0]
    }

    fn load(&self, table: Table, index: u32, word: usize) -> u64 {
        self.check(table, index, word);
        self.state.load(table, index, word)
    }

    fn frontends(&self) -> io::Result<Vec<(FrontendKey, FrontendValue)>> {
        Ok(self.state.frontends.iter().map(|(k, v)| (*k, *v)).collect())
    }

    fn source_ranges(&self) -> io::Result<Vec<SourcePrefix>> {
        Ok(self.state.source_ranges.iter().copied().collect())
    }

    fn nat(&self) -> io::Result<Option<Vec<(u32, SocketAddr)>>> {
        let nat = self.state.nat.as_ref();
        Ok(nat.map(|nat| nat.iter().map(|(id, address)| (*id, *address)).collect()))
    }

    fn entries(&self, see: &mut dyn FnMut(u64, Pair)) -> io::Result<()> {
        for &(cookie, pair) in &self.state.entries {
            see(cookie, pair);
        }
        Ok(())
    }
}

impl Backing for Memory {
    fn store(&mut self, table: Table, index: u32, word: usize, value: u64) {
        self.check(table, index, word);
        self.stores += 1;
        self.state.words.insert((table, index, word), value);
    }

    fn replace(&mut self, table: Table, index: u32, word: usize, from: u64, to: u64) -> bool {
        let is_same = self.load(table, index, word) == from;
        if is_same {
            self.store(table, index, word, to);
        }
        is_same
    }

    fn frontends_from(&self, _position: u32) -> io::Result<Part> {
        Ok(Part {
            elements: self.frontends()?,
            next: None,
        })
    }

    fn frontend(&self, key: &FrontendKey) -> io::Result<Option<FrontendValue>> {
        Ok(self.state.frontends.get(key).copied())
    }

    fn repair_copies(&mut self, _key: &FrontendKey, _value: &FrontendValue) -> Copies {
        Copies::default()
    }

    fn prune_copies(&mut self, _position: u32, _elements: &dyn Elements) -> (Copies, Option<u32>) {
        (Copies::default(), None)
    }

    fn differing_copies(&self, _key: &FrontendKey, _value: &FrontendValue) -> Copies {
        Copies::default()
    }

    fn affinity(&self, client: u64, service_port: u32) -> io::Result<Option<Affinity>> {
        let affinities = &self.state.affinities;
        Ok(affinities.get(&(client, service_port)).copied())
    }

    fn put_frontend(&mut self, key: &FrontendKey, value: &FrontendValue) -> io::Result<()> {
        assert!(
            self.state.frontends.contains_key(key)
                || self.state.frontends.len() < self.most_frontends() as usize,
            "FRONTENDS is full"
        );
        self.stores += 1;
        self.state.frontends.insert(*key, *value);
        Ok(())
    }

    fn remove_frontend(&mut self, key: &FrontendKey) -> io::Result<()> {
        self.stores += 1;
        self.state.frontends.remove(key);
        Ok(())
    }

    fn put_source_range(&mut self, prefix: &SourcePrefix) -> io::Result<()> {
        self.stores += 1;
        self.state.source_ranges.insert(*prefix);
        Ok(())
    }

    fn remove_source_range(&mut self, prefix: &SourcePrefix) -> io::Result<()> {
        self.stores += 1;
        self.state.source_ranges.remove(prefix);
        Ok(())
    }

    fn has_nat(&self) -> bool {
        self.state.nat.is_some()
    }

    fn put_nat(&mut self, elements: &[(u32, SocketAddr)]) -> io::Result<()> {
        self.stores += 1;
        self.state
            .nat
            .get_or_insert_default()
            .extend(elements.iter().copied());
        Ok(())
    }

    fn remove_nat(&mut self, ids: &[u32]) -> io::Result<()> {
        self.stores += 1;
        let nat = self.state.nat.get_or_insert_default();
        nat.retain(|id, _| !ids.contains(id));
        Ok(())
    }

    fn clear_entries(&mut self, of: &HashSet<u64>) -> io::Result<usize> {
        let before = self.state.entries.len();
        self.stores += 1;
        let entries = &mut self.state.entries;
        entries.retain(|(cookie, _)| !of.contains(cookie));
        Ok(before - self.state.entries.len())
    }

    fn entries_in_use(&self) -> [Usage; 2] {
        ["ORIGINS", "SPILL"].map(|table| Usage {
            table,
            used: 0,
            capacity: 1,
        })
    }
}

impl Memory {
    /// An access for which the kernel would send SIGSEGV.
    fn check(&self, table: Table, index: u32, word: usize) {
        assert!(
            index < self.length(table) && word < width(table),
            "{table:?}[{index}].{word} is outside of the table"
        );
    }
}
