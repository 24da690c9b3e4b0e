//! Compares the allocators with what is in use: nothing is allocated twice, and nothing leaks.

use std::collections::HashSet;

use lb_common::Backend as BackendLine;
use lb_common::view::{banks, is_own};

use super::memory::{Memory, State};
use crate::tables::Tables;
use crate::tables::backing::Table;
use crate::tables::model::Item;

pub fn grace<const N: usize>(tables: &mut Tables<Memory>) {
    for _ in 0..N {
        if tables.begin_grace() {
            tables.end_grace();
        }
    }
}

/// The elements of a table: each must be in exactly one of the states used, quarantined, free.
struct Account {
    what: &'static str,
    taken: Vec<bool>,
}

impl Account {
    fn new(what: &'static str, length: u32) -> Self {
        let taken = vec![false; length as usize];
        Self { what, taken }
    }

    fn take(&mut self, place: u32, by: &str) {
        let taken = &mut self.taken[place as usize];
        assert!(
            !std::mem::replace(taken, true),
            "{} {place} is {by}, and something else too",
            self.what
        );
    }

    fn check(&self, first: usize) {
        let leaked = self.taken.iter().skip(first).position(|taken| !taken);
        assert_eq!(
            leaked.map(|place| place + first),
            None,
            "{} leaked",
            self.what
        );
    }
}

/// Every element is in exactly one of these states.
pub fn check_allocators(tables: &Tables<Memory>) {
    let [frontends, views, cells, backends] = tables.backing().lengths;
    let mut backends = Account::new("backend", backends);
    let mut views = Account::new("view", views);
    let mut frontends = Account::new("frontend", frontends);
    let mut cells = Account::new("cell", cells);
    let mut own = HashSet::new();
    let mut take_run = |base: u32, length: u32, by: &str| {
        if is_own(base) {
            assert!(
                own.insert(base),
                "bank {base} is {by}, and something else too"
            );
        } else {
            (base..base + length).for_each(|cell| cells.take(cell, by));
        }
    };
    for state in tables.model.frontends.values() {
        frontends.take(state.id, "used");
    }
    for port in tables.model.ports.values() {
        for backend in &port.backends {
            backends.take(backend.id, "used");
        }
        for view in &port.views {
            views.take(view.index, "used");
            if view.run.cells() == 0 {
                continue;
            }
            if is_own(view.run.base) {
                assert!(banks(view.index).contains(&view.run.base));
            }
            take_run(view.run.base, view.run.cells(), "used");
        }
    }
    for item in tables.model.quarantine.all() {
        match item {
            Item::Run { base, cells } => take_run(base, cells, "quarantined"),
            Item::View(index) => views.take(index, "quarantined"),
            Item::Backend(id) => backends.take(id, "quarantined"),
            Item::Frontend(id) => frontends.take(id, "quarantined"),
        }
    }
    let extents = tables.model.free.runs.all_left();
    assert!(
        extents
            .windows(2)
            .all(|pair| pair[0].0 + pair[0].1 < pair[1].0)
    );
    for (base, length) in extents {
        take_run(base, length, "free");
    }
    assert_eq!(tables.model.free.runs.banks(), &own);
    let ids = [
        (&tables.model.free.backends, &mut backends),
        (&tables.model.free.views, &mut views),
        (&tables.model.free.frontends, &mut frontends),
    ];
    for (ids, account) in ids {
        ids.all_left()
            .into_iter()
            .for_each(|id| account.take(id, "free"));
        account.check(1);
    }
    cells.check(0);
}

/// Right after a recovery, the quarantine contains exactly the ids that sockets name.
pub fn check_quarantine_for_sockets(tables: &Tables<Memory>, state: &State) {
    for item in tables.model.quarantine.all() {
        let is_named = match item {
            Item::Backend(id) => state.load(Table::Backends, id, BackendLine::ACTIVE_WORD) != 0,
            Item::Frontend(id) => state.entries.iter().any(|(_, pair)| pair.frontend == id),
            Item::Run { .. } | Item::View(_) => false,
        };
        assert!(is_named, "{item:?} is quarantined for no reason");
    }
}
