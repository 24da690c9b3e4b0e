//! What a check found.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;

use super::super::model::Model;
use crate::counted::counted;

/// So many service ports are named. The others are counted.
const MOST_NAMED: usize = 5;

/// What a check has found so far.
#[derive(Debug, Default)]
pub struct Findings {
    /// By the name of the table.
    repaired: BTreeMap<&'static str, usize>,
    /// The ids of the service ports that were repaired.
    ports: BTreeSet<u32>,
    errors: BTreeSet<String>,
}

/// What a check repaired.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drift {
    /// Words and elements by the table that they are in; `active` for the counts of backends.
    pub repaired: BTreeMap<&'static str, usize>,
    /// The names of service ports that were repaired, as far as they are known.
    pub services: Vec<String>,
    /// How many others were repaired.
    pub more_services: usize,
    /// What could not be read or written.
    pub errors: Vec<String>,
}

impl Findings {
    pub fn add(&mut self, what: &'static str, number: usize) {
        if number > 0 {
            *self.repaired.entry(what).or_insert(0) += number;
        }
    }

    pub fn fail(&mut self, error: &io::Error) {
        self.errors.insert(error.to_string());
    }

    /// Something that cannot be read or written is noted, and the check goes on.
    pub fn note<T>(&mut self, result: io::Result<T>) -> Option<T> {
        result.inspect_err(|error| self.fail(error)).ok()
    }

    /// A row of this service port was repaired.
    pub fn is_of(&mut self, port: u32) {
        self.ports.insert(port);
    }

    /// How much was repaired so far.
    pub fn sum(&self) -> usize {
        self.repaired.values().sum()
    }

    pub fn report(self, model: &Model) -> Drift {
        let mut drift = Drift {
            repaired: self.repaired,
            errors: self.errors.into_iter().collect(),
            ..Drift::default()
        };
        if self.ports.is_empty() {
            return drift;
        }
        let of = model.ids.iter().filter(|(_, id)| self.ports.contains(id));
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
        for (position, (what, number)) in self.repaired.iter().enumerate() {
            let comma = if position > 0 { ", " } else { "" };
            write!(f, "{comma}{what} ({number})")?;
        }
        let names = self.services.join(", ");
        match (names.as_str(), self.more_services) {
            ("", 0) => Ok(()),
            (names, 0) => write!(f, " of {names}"),
            ("", more) => write!(
                f,
                " of {} that no object has asked for yet",
                counted(more, "service port")
            ),
            (names, more) => write!(f, " of {names} and {}", counted(more, "other")),
        }
    }
}
