//! Slots in cells: two backend ids in a 64-bit word, in SLOTS or among the cells of the view itself.

use lb_common::view::own_cell;
use lb_common::{SlotRun, View};

use super::backing::{ReadTables, Table};

/// The words of the cells that contain these backend ids, two in each.
pub fn cells(slots: &[u32]) -> impl Iterator<Item = u64> {
    slots
        .chunks(2)
        .map(|pair| u64::from(pair[0]) | u64::from(*pair.get(1).unwrap_or(&0)) << 32)
}

/// A checksum of a run's cells. Any change of a single cell changes it: no step undoes a difference.
pub fn fingerprint(cells: impl Iterator<Item = u64>) -> u64 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    cells.fold(0, |sum: u64, cell| {
        (sum.rotate_left(5) ^ cell).wrapping_mul(ODD)
    })
}

/// The fingerprint of the cells that a run has in the tables.
pub fn fingerprint_of(backing: &impl ReadTables, run: SlotRun) -> u64 {
    fingerprint((0..run.cells()).map(|cell| load_cell(backing, run.cell(cell * 2))))
}

/// The backend ids that a run has in the tables.
pub fn slots_of(backing: &impl ReadTables, run: SlotRun) -> impl Iterator<Item = u32> {
    (0..run.length)
        .map(move |slot| lb_common::view::slot_of(load_cell(backing, run.cell(slot)), slot))
}

/// The table, the element and the word of a cell.
#[must_use]
pub const fn location(cell: u32) -> (Table, u32, usize) {
    match own_cell(cell) {
        Some((view, number)) => (Table::Views, view, View::CELLS_WORD + number),
        None => (Table::Slots, cell, 0),
    }
}

pub fn load_cell(backing: &impl ReadTables, cell: u32) -> u64 {
    let (table, index, word) = location(cell);
    backing.load(table, index, word)
}
