//! The words of a row, as steps.

use lb_common::{Backend as BackendLine, FrontendEntry, FrontendKey, SlotRun, View};

use super::super::backing::Table;
use super::super::cells::{cells, location};
use super::super::encode;
use super::super::model::{HeldBackend, HeldFrontend, HeldView, Model};
use super::step::Step;

pub const fn store(table: Table, index: u32, word: usize, value: u64) -> Step {
    Step::Store {
        table,
        index,
        word,
        value,
    }
}

/// A word of CONFIG, if it has another value.
#[must_use]
pub fn config_word(model: &Model, word: u32, value: u64) -> Option<Step> {
    let held = model.config.get(word as usize);
    held.is_some_and(|&held| held != value)
        .then(|| store(Table::Config, word, 0, value))
}

/// A backend's line, its counters 0. The state comes last: a line that has one is whole.
pub fn backend(port: u32, held: &HeldBackend) -> impl Iterator<Item = Step> {
    let id = held.id;
    let line = encode::backend_line(held.address, port, held.state, held.weight);
    let words: [u64; BackendLine::WORDS] = bytemuck::must_cast(line);
    let others = (0..BackendLine::WORDS).filter(|&word| word != BackendLine::STATE_WORD);
    others
        .chain([BackendLine::STATE_WORD])
        .map(move |word| store(Table::Backends, id, word, words[word]))
}

/// The word of a backend's line that contains its weight. The rest of it stays as it is.
pub fn backend_weight(port: u32, held: &HeldBackend) -> impl Iterator<Item = Step> {
    backend(port, held)
        .filter(|step| matches!(step, Step::Store { word, .. } if *word == BackendLine::OWNER_WORD))
}

pub const fn backend_state(id: u32, state: u64) -> Step {
    store(Table::Backends, id, BackendLine::STATE_WORD, state)
}

/// A view's line without its slots and cells.
pub fn view(port: u32, held: &HeldView) -> impl Iterator<Item = Step> {
    let index = held.index;
    let line = encode::view_line(
        port,
        held.role,
        held.algorithm,
        held.affinity_seconds,
        held.flags,
    );
    let words: [u64; View::WORDS] = bytemuck::must_cast(line);
    (0..View::CELLS_WORD)
        .filter(|&word| word != View::SLOTS_WORD)
        .map(move |word| store(Table::Views, index, word, words[word]))
}

/// The cells of a run.
pub fn run(run: SlotRun, slots: &[u32]) -> impl Iterator<Item = Step> {
    (0_u32..).zip(cells(slots)).map(move |(cell, value)| {
        let (table, index, word) = location(run.cell(cell * 2));
        store(table, index, word, value)
    })
}

/// The store that makes a run the view's.
pub const fn slots(view: u32, run: SlotRun) -> Step {
    store(Table::Views, view, View::SLOTS_WORD, run.to_word())
}

/// A frontend's entry of FRONTEND_LIST.
pub fn frontend(key: &FrontendKey, held: &HeldFrontend) -> impl Iterator<Item = Step> {
    let id = held.id;
    let entry = encode::frontend_entry(key, held.kind, held.outside_view);
    let words: [u64; FrontendEntry::WORDS] = bytemuck::must_cast(entry);
    (0..FrontendEntry::WORDS).map(move |word| store(Table::FrontendList, id, word, words[word]))
}
