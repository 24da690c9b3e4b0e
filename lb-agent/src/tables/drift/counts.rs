//! `active` of backends: whether it is the number of entries in ORIGINS and SPILL that name the backend.
//!
//! Sockets come and go meanwhile. A count is wrong only if two checks in a row find the same difference, the same sockets
//! and no new connection. A backend with constant connects is never judged.

use std::collections::HashMap;
use std::io;

use lb_common::Backend as BackendLine;

use super::super::backing::{Backing, ReadTables, Table};
use super::super::model::{Item, Model};
use super::report::Findings;

/// The counts of backends in two checks.
#[derive(Debug, Default)]
pub struct EntryCounts {
    /// By backend, in this check; none if they could not be read.
    entries: Option<HashMap<u32, Entries>>,
    /// Backends whose count differed in the check before.
    suspects: HashMap<u32, Sample>,
    /// Backends whose count differs in this check.
    next: HashMap<u32, Sample>,
}

/// The entries that name a backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Entries {
    number: u64,
    /// A sum over their sockets' cookies: it changes when another socket has one of them.
    sockets: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sample {
    entries: Entries,
    connections: u64,
    active: u64,
}

impl EntryCounts {
    /// Counts all entries.
    pub fn begin(&mut self, backing: &impl ReadTables) -> io::Result<()> {
        self.entries = None;
        let mut entries: HashMap<u32, Entries> = HashMap::new();
        backing.entries(&mut |cookie, pair| {
            if pair.frontend != 0 {
                let of = entries.entry(pair.backend).or_default();
                of.number += 1;
                of.sockets = of.sockets.wrapping_add(mixed(cookie));
            }
        })?;
        self.entries = Some(entries);
        Ok(())
    }

    /// A check is over. The next one looks again at its suspects.
    pub fn end(&mut self) {
        self.entries = None;
        self.suspects = std::mem::take(&mut self.next);
    }

    fn check(&mut self, backing: &mut impl Backing, id: u32, findings: &mut Findings) {
        let Some(entries) = &self.entries else {
            return;
        };
        let load = |word| backing.load(Table::Backends, id, word);
        let sample = Sample {
            entries: entries.get(&id).copied().unwrap_or_default(),
            connections: load(BackendLine::CONNECTIONS_WORD),
            active: load(BackendLine::ACTIVE_WORD),
        };
        let number = sample.entries.number;
        if sample.active == number {
            return;
        }
        let (table, word) = (Table::Backends, BackendLine::ACTIVE_WORD);
        if self.suspects.get(&id) == Some(&sample)
            && backing.replace(table, id, word, sample.active, number)
        {
            findings.add("active", 1);
        } else {
            self.next.insert(id, sample);
        }
    }
}

/// The finalizer of SplitMix64, so that sums of cookies, which come in sequence, tell sets of them apart.
const fn mixed(cookie: u64) -> u64 {
    let mixed = (cookie ^ cookie >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

pub fn check_counts_of(
    port: u32,
    model: &Model,
    backing: &mut impl Backing,
    counts: &mut EntryCounts,
    findings: &mut Findings,
) {
    let port = model.ports.get(&port);
    for backend in port.into_iter().flat_map(|port| &port.backends) {
        counts.check(backing, backend.id, findings);
    }
}

/// Backends that were removed are still counted: they are quarantined until the count is 0.
pub fn check_counts_of_quarantined(
    model: &Model,
    backing: &mut impl Backing,
    counts: &mut EntryCounts,
    findings: &mut Findings,
) {
    for item in &model.quarantine.named {
        if let Item::Backend(id) = item {
            counts.check(backing, *id, findings);
        }
    }
}
