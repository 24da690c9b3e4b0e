//! One service port: its backends, then its views with their slots, then its frontends.

use lb_common::{Backend as BackendLine, FrontendEntry, View};

use super::super::cell::{cells, fingerprint, fingerprint_of, place};
use super::super::member::{self, Member};
use super::super::{Backing, PortState, Table, Tables, ViewState, form};
use super::report::Found;

impl<B: Backing> Tables<B> {
    /// Returns at how much it looked.
    pub(super) fn check_port(&mut self, id: u32, found: &mut Found) -> usize {
        let Some(port) = self.ports.get(&id) else {
            return 0;
        };
        let before = found.sum();
        let backing = &mut self.backing;
        check_members(backing, id, &port.members, found);
        // Of what an earlier agent left it is not known what these words should be.
        let is_known = !self.orphans.contains(&id);
        let mut lost = Vec::new();
        for view in &port.views {
            if !check_slots(backing, view, port, found) {
                lost.push(*view);
                continue;
            }
            check_view(backing, id, view, is_known, found);
        }
        let cells: u32 = port.views.iter().map(|view| view.run.cells()).sum();
        let looked = port.members.len() * BackendLine::AGENT_WORDS
            + port.frontends.len() * 8
            + port.views.len() * View::WORDS
            + cells as usize;
        for view in lost {
            self.renew_slots(id, &view, found);
        }
        self.check_frontends(id, found);
        if found.sum() > before {
            found.is_of(id);
        }
        looked
    }

    /// A run of which is not known what it held: a fresh one, from those that are members.
    fn renew_slots(&mut self, id: u32, view: &ViewState, found: &mut Found) {
        let Some(port) = self.ports.get(&id) else {
            return;
        };
        let slots = slots_of(view, &port.members);
        match self.reserve_run(view.index, &slots) {
            Ok(run) => self.give_run(id, view.index, run, &slots),
            Err(error) => return found.fail(&std::io::Error::other(error)),
        }
        found.add(Table::Slots.name(), 1);
    }

    fn check_frontends(&mut self, id: u32, found: &mut Found) {
        let Some(port) = self.ports.get(&id) else {
            return;
        };
        for key in &port.frontends {
            let Some(state) = self.frontends.get(key).filter(|state| state.owner == id) else {
                continue;
            };
            let entry = form::frontend_entry(key, state.kind);
            let words: [u64; FrontendEntry::WORDS] = bytemuck::must_cast(entry);
            for (word, value) in words.into_iter().enumerate() {
                let at = (Table::FrontendList, state.id, word);
                found.mend(&mut self.backing, at, value);
            }
            super::elements::check(&mut self.backing, key, &state.value(key), found);
        }
    }
}

/// The agent's half of each line, the state last.
fn check_members(backing: &mut impl Backing, id: u32, members: &[Member], found: &mut Found) {
    for member in members {
        // Nobody's: see `find_members` in recover.rs.
        if member.address.port() == 0 {
            continue;
        }
        let line = form::backend_line(member.address, id, member.state);
        let words: [u64; BackendLine::WORDS] = bytemuck::must_cast(line);
        for (word, &value) in words.iter().enumerate().take(BackendLine::AGENT_WORDS) {
            found.mend(backing, (Table::Backends, member.id, word), value);
        }
    }
}

/// Returns false when the cells are not what was written and it is not known what that was.
fn check_slots(
    backing: &mut impl Backing,
    view: &ViewState,
    port: &PortState,
    found: &mut Found,
) -> bool {
    if fingerprint_of(backing, view.run) == view.fingerprint {
        return true;
    }
    let slots = slots_of(view, &port.members);
    if slots.len() != view.run.length as usize || fingerprint(cells(&slots)) != view.fingerprint {
        return false;
    }
    for (cell, value) in (0..).zip(cells(&slots)) {
        found.mend(backing, place(view.run.cell(cell * 2)), value);
    }
    true
}

fn check_view(
    backing: &mut impl Backing,
    id: u32,
    view: &ViewState,
    is_known: bool,
    found: &mut Found,
) {
    let line = View {
        slots: view.run.to_word(),
        ..form::view_line(id, view.role, view.algorithm, view.affinity_seconds)
    };
    let words: [u64; View::WORDS] = bytemuck::must_cast(line);
    for (word, &value) in words.iter().enumerate().take(View::CELLS_WORD) {
        if is_known || word == View::SLOTS_WORD {
            found.mend(backing, (Table::Views, view.index, word), value);
        }
    }
}

/// The slots that a view is to have.
fn slots_of(view: &ViewState, members: &[Member]) -> Vec<u32> {
    let is_of = |member: &&Member| member.state & view.role.bit() != 0;
    let of: Vec<&Member> = members.iter().filter(is_of).collect();
    member::slots(view.algorithm, &of, view.run.length)
}
