//! The rows of the model as they should be in the tables, compared with what is there: the steps that repair the difference.

use lb_common::config::{self, CLUSTER_CIDRS, MOST_CIDRS, SERVICE_CIDRS, cidr};
use lb_common::{Backend as BackendLine, View};

use super::super::backing::{ReadTables, Table};
use super::super::cells::{cells, fingerprint, fingerprint_of};
use super::super::model::{HeldPort, HeldView, Model};
use super::add::add_view;
use super::assign::{ApplyError, WantedView, slots_of_view, take_run};
use super::rows;
use super::step::{Plan, Step};

/// The words of CONFIG that differ; returns their number. A list of CIDRs is not in effect while one of its words changes.
pub fn repair_config(model: &Model, backing: &impl ReadTables, plan: &mut Plan) -> usize {
    let length = backing.length(Table::Config).min(config::WORDS);
    let load = |word: u32| backing.load(Table::Config, word, 0);
    let held = |word: u32| model.config[word as usize];
    let differs = |word: &u32| load(*word) != held(*word);
    let is_changing = |list: &u32| {
        let mut words = *list..cidr(*list, MOST_CIDRS).min(length);
        words.any(|word| differs(&word)) && load(*list) != 0
    };
    let lists: Vec<u32> = [SERVICE_CIDRS, CLUSTER_CIDRS]
        .into_iter()
        .filter(is_changing)
        .collect();
    let off = lists
        .iter()
        .map(|list| rows::store(Table::Config, *list, 0, 0));
    plan.extend(off);
    // The number of CIDRs comes after the CIDRs.
    for word in (0..length).rev() {
        if differs(&word) || lists.contains(&word) && held(word) != 0 {
            plan.push(rows::store(Table::Config, word, 0, held(word)));
        }
    }
    (0..length).filter(differs).count()
}

/// The rows of a service port that differ: its backends, then its views with their slots, then its frontends' entries. The elements
/// of FRONTENDS are compared one by one: see [`super::super::drift`].
///
/// A word gets its value back under its readers. Returns the views whose slots are lost: see [`renew_slots`].
pub fn repair_port(
    model: &Model,
    id: u32,
    backing: &impl ReadTables,
    plan: &mut Plan,
) -> Vec<HeldView> {
    let mut lost = Vec::new();
    let Some(port) = model.ports.get(&id) else {
        return lost;
    };
    let differs = |step: &Step| match *step {
        Step::Store {
            table,
            index,
            word,
            value,
        } => backing.load(table, index, word) != value,
        _ => false,
    };
    for backend in &port.backends {
        // It belongs to no service port.
        if backend.address.port() == 0 {
            continue;
        }
        let of_agent = |step: &Step| matches!(step, Step::Store { word, .. } if *word < BackendLine::AGENT_WORDS);
        plan.extend(rows::backend(id, backend).filter(of_agent).filter(differs));
    }
    // The right values are unknown as long as an earlier agent's rows were not asked for.
    let is_orphan = model.orphans.contains(&id);
    for view in &port.views {
        match cells_of(view, port, backing) {
            None => {
                lost.push(*view);
                continue;
            }
            Some(slots) => plan.extend(rows::run(view.run, &slots).filter(differs)),
        }
        if !is_orphan {
            plan.extend(rows::view(id, view).filter(differs));
        }
        plan.extend(
            [rows::slots(view.index, view.run)]
                .into_iter()
                .filter(differs),
        );
    }
    for key in &port.frontends {
        if let Some(held) = model.frontends.get(key) {
            plan.extend(rows::frontend(key, held).filter(differs));
        }
    }
    lost
}

/// A fresh run for a view whose slots are lost, from the backends that the model has.
pub fn renew_slots(
    model: &mut Model,
    id: u32,
    view: &HeldView,
    plan: &mut Plan,
) -> Result<(), ApplyError> {
    let Some(port) = model.ports.get(&id) else {
        return Ok(());
    };
    let slots = slots_of_view(view, port);
    let (run, fingerprint) = take_run(&mut model.free, view.index, &slots)?;
    let held = HeldView {
        run,
        fingerprint,
        ..*view
    };
    let slots = Some(slots);
    add_view(port, id, &WantedView { held, slots }, plan);
    Ok(())
}

/// The slots of a view whose cells differ; empty if they don't. None: they do, and the right ones are unknown.
fn cells_of(view: &HeldView, port: &HeldPort, backing: &impl ReadTables) -> Option<Vec<u32>> {
    if fingerprint_of(backing, view.run) == view.fingerprint {
        return Some(Vec::new());
    }
    let slots = slots_of_view(view, port);
    let is_it =
        slots.len() == view.run.length as usize && fingerprint(cells(&slots)) == view.fingerprint;
    is_it.then_some(slots)
}

/// How many words a check of a service port compares.
#[must_use]
pub fn words_of(port: &HeldPort) -> usize {
    let cells: u32 = port.views.iter().map(|view| view.run.cells()).sum();
    port.backends.len() * BackendLine::AGENT_WORDS
        + port.frontends.len() * 8
        + port.views.len() * View::WORDS
        + cells as usize
}
