//! Where a cell is: in SLOTS, or among its view's own.

use lb_common::view::own_cell;
use lb_common::{SlotRun, View};

use super::{Backing, Table};

/// The cells that hold these backend ids, two in each.
pub fn cells(slots: &[u32]) -> impl Iterator<Item = u64> {
    slots
        .chunks(2)
        .map(|pair| u64::from(pair[0]) | u64::from(*pair.get(1).unwrap_or(&0)) << 32)
}

/// A number for a run's cells that another value of any one of them changes: each step is undone by no other value.
pub fn fingerprint(cells: impl Iterator<Item = u64>) -> u64 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    cells.fold(0, |sum: u64, cell| {
        (sum.rotate_left(5) ^ cell).wrapping_mul(ODD)
    })
}

/// The fingerprint of what is there.
pub fn fingerprint_of(backing: &impl Backing, run: SlotRun) -> u64 {
    fingerprint((0..run.cells()).map(|cell| load_cell(backing, run.cell(cell * 2))))
}

/// The table, the element and the word that hold a cell.
#[must_use]
pub const fn place(cell: u32) -> (Table, u32, usize) {
    match own_cell(cell) {
        Some((view, number)) => (Table::Views, view, View::CELLS_WORD + number),
        None => (Table::Slots, cell, 0),
    }
}

pub fn load_cell(backing: &impl Backing, cell: u32) -> u64 {
    let (table, index, word) = place(cell);
    backing.load(table, index, word)
}

pub fn store_cell(backing: &mut impl Backing, cell: u32, value: u64) {
    let (table, index, word) = place(cell);
    backing.store(table, index, word, value);
}
