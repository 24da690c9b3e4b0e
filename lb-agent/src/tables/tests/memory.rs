//! A backing in plain memory that shows every store to an observer, and can stop taking them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::io;

use lb_common::{Backend, FrontendEntry, FrontendKey, FrontendValue, Pair, View, config};

use crate::tables::{Backing, Table};

/// Shown to the observer after every store.
#[derive(Clone, Debug, Default)]
pub struct State {
    pub words: HashMap<(Table, u32, usize), u64>,
    pub frontends: BTreeMap<FrontendKey, FrontendValue>,
    /// Cookie and pair of each socket that has a place.
    pub places: Vec<(u64, Pair)>,
}

impl State {
    pub fn load(&self, table: Table, index: u32, word: usize) -> u64 {
        self.words
            .get(&(table, index, word))
            .copied()
            .unwrap_or_default()
    }
}

type Observer = Box<dyn FnMut(&State)>;

pub struct Memory {
    pub state: State,
    pub lengths: [u32; 4],
    pub observer: Option<Observer>,
    /// How many more stores are taken; none: all.
    pub left: Option<usize>,
    pub stores: usize,
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.state.fmt(f)
    }
}

impl Memory {
    /// `lengths`: of FRONTEND_LIST, VIEWS, SLOTS, BACKENDS.
    pub fn new(lengths: [u32; 4]) -> Self {
        Self {
            state: State::default(),
            lengths,
            observer: None,
            left: None,
            stores: 0,
        }
    }

    fn write(&mut self, write: impl FnOnce(&mut State)) {
        match &mut self.left {
            Some(0) => return,
            Some(left) => *left -= 1,
            None => {}
        }
        self.stores += 1;
        write(&mut self.state);
        if let Some(observer) = &mut self.observer {
            observer(&self.state);
        }
    }
}

impl Backing for Memory {
    fn length(&self, table: Table) -> u32 {
        match table {
            Table::FrontendList => self.lengths[0],
            Table::Views => self.lengths[1],
            Table::Slots => self.lengths[2],
            Table::Backends => self.lengths[3],
            Table::Config => config::WORDS,
        }
    }

    fn load(&self, table: Table, index: u32, word: usize) -> u64 {
        self.check(table, index, word);
        self.state.load(table, index, word)
    }

    fn store(&mut self, table: Table, index: u32, word: usize, value: u64) {
        self.check(table, index, word);
        self.write(|state| {
            state.words.insert((table, index, word), value);
        });
    }

    fn frontends(&self) -> io::Result<Vec<(FrontendKey, FrontendValue)>> {
        Ok(self.state.frontends.iter().map(|(k, v)| (*k, *v)).collect())
    }

    fn put_frontend(&mut self, key: &FrontendKey, value: &FrontendValue) -> io::Result<()> {
        assert!(
            self.state.frontends.contains_key(key)
                || self.state.frontends.len() < 2 * self.lengths[0] as usize,
            "FRONTENDS is full"
        );
        self.write(|state| {
            state.frontends.insert(*key, *value);
        });
        Ok(())
    }

    fn remove_frontend(&mut self, key: &FrontendKey) -> io::Result<()> {
        self.write(|state| {
            state.frontends.remove(key);
        });
        Ok(())
    }

    fn places(&self, see: &mut dyn FnMut(u64, Pair)) -> io::Result<()> {
        for &(cookie, pair) in &self.state.places {
            see(cookie, pair);
        }
        Ok(())
    }

    fn clear_places(&mut self, of: &HashSet<u64>) -> io::Result<usize> {
        let before = self.state.places.len();
        self.write(|state| state.places.retain(|(cookie, _)| !of.contains(cookie)));
        Ok(before - self.state.places.len())
    }

    fn is_crowded(&self) -> bool {
        false
    }
}

impl Memory {
    /// What the kernel would answer with SIGSEGV.
    fn check(&self, table: Table, index: u32, word: usize) {
        let words = match table {
            Table::FrontendList => FrontendEntry::WORDS,
            Table::Views => View::WORDS,
            Table::Backends => Backend::WORDS,
            Table::Slots | Table::Config => 1,
        };
        assert!(
            index < self.length(table) && word < words,
            "{table:?}[{index}].{word} is outside of the table"
        );
    }
}
