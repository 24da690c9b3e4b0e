//! Where a cell is: in SLOTS, or among its view's own.

use lb_common::View;
use lb_common::view::own_cell;

use super::{Backing, Table};

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
