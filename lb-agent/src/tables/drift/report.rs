//! What a check found, and how it is said.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;

use super::super::{Backing, Table, Tables};

/// So many service ports are named; of the others, how many they are.
const MOST_NAMED: usize = 5;

/// What is found while a check goes on.
#[derive(Debug, Default)]
pub struct Found {
    /// By what it was found in.
    repaired: BTreeMap<&'static str, usize>,
    /// The ids of the service ports that it concerned.
    ports: BTreeSet<u32>,
    errors: BTreeSet<String>,
}

/// What a check found and mended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drift {
    /// Words and elements by the table that they are in; `active` for the counts of backends.
    pub repaired: BTreeMap<&'static str, usize>,
    /// The service ports that it concerned, as far as that is known.
    pub services: Vec<String>,
    /// How many service ports more it concerned.
    pub more_services: usize,
    /// What could not be read or written.
    pub errors: Vec<String>,
}

impl Found {
    pub fn add(&mut self, what: &'static str, number: usize) {
        if number > 0 {
            *self.repaired.entry(what).or_insert(0) += number;
        }
    }

    pub fn fail(&mut self, error: &io::Error) {
        self.errors.insert(error.to_string());
    }

    /// A word gets the value that it is to have. Returns whether it had another.
    pub fn mend(
        &mut self,
        backing: &mut impl Backing,
        (table, index, word): (Table, u32, usize),
        value: u64,
    ) -> bool {
        let differs = backing.load(table, index, word) != value;
        if differs {
            backing.store(table, index, word, value);
            self.add(table.name(), 1);
        }
        differs
    }

    /// What was found since was of this service port.
    pub fn is_of(&mut self, port: u32) {
        self.ports.insert(port);
    }

    /// How much was repaired so far.
    pub fn sum(&self) -> usize {
        self.repaired.values().sum()
    }

    pub fn report<B>(self, tables: &Tables<B>) -> Drift {
        let mut drift = Drift {
            repaired: self.repaired,
            errors: self.errors.into_iter().collect(),
            ..Drift::default()
        };
        if self.ports.is_empty() {
            return drift;
        }
        let of = tables.ids.iter().filter(|(_, id)| self.ports.contains(id));
        let mut names: Vec<String> = of.map(|(key, _)| key.to_string()).collect();
        names.sort();
        names.truncate(MOST_NAMED);
        drift.more_services = self.ports.len() - names.len();
        drift.services = names;
        drift
    }
}

impl fmt::Display for Drift {
    /// `FRONTENDS (1), SLOTS (3) of default/web:http/TCP (IPv4) and 7 others`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (what, number)) in self.repaired.iter().enumerate() {
            let comma = if place > 0 { ", " } else { "" };
            write!(f, "{comma}{what} ({number})")?;
        }
        let names = self.services.join(", ");
        match (names.as_str(), self.more_services) {
            ("", 0) => Ok(()),
            (names, 0) => write!(f, " of {names}"),
            ("", more) => write!(f, " of {more} service ports that nobody has asked for yet"),
            (names, more) => write!(f, " of {names} and {more} others"),
        }
    }
}
