//! VIEWS and SLOTS: the choice that a frontend offers.

use core::mem::offset_of;
use core::ops::Range;

#[cfg(not(feature = "next-layout"))]
use bytemuck::{Pod, Zeroable};

#[cfg(feature = "next-layout")]
pub use crate::rehearsal::View;

/// Element of VIEWS. Index 0 is never given out.
#[cfg(not(feature = "next-layout"))]
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct View {
    /// A [`SlotRun`] as one word: readers see the old run or the new one, whole.
    pub slots: u64,
    /// Id of the service port; each of its backends carries the same.
    pub service_port: u32,
    /// 0: no affinity.
    pub affinity_seconds: u32,
    /// One of [`algorithm`].
    pub algorithm: u32,
    /// The bit of [`crate::backend::state`] that says of a backend that it is in this view.
    pub member: u32,
    pub zero: u64,
    /// Cells of its own for a short run, so that a pick reads one line less: two banks, of which one is in use and the
    /// other may still be in a reader's hands.
    pub cells: [u64; OWN_CELLS],
}

/// How many cells a view has of its own: two banks.
pub(crate) const OWN_CELLS: usize = 1 << OWN_CELLS_LOG2;

const OWN_CELLS_LOG2: u32 = 2;

/// How many slots a bank of a view's own cells holds.
pub const BANK_SLOTS: u32 = 4;

/// How many cells a bank has.
const BANK_CELLS: u32 = BANK_SLOTS / 2;

/// The bit of a cell's number that says that it is a view's own, and none of SLOTS.
const OWN: u32 = 1 << 31;

impl View {
    /// Length in 64-bit words.
    pub const WORDS: usize = size_of::<Self>() / 8;
    /// The word that holds `slots`.
    pub const SLOTS_WORD: usize = offset_of!(Self, slots) / 8;
    /// The first of the words that hold `cells`.
    pub const CELLS_WORD: usize = offset_of!(Self, cells) / 8;
}

/// How many backends have their home with a view.
const HOME: u32 = 4;

/// The ids of BACKENDS that a view's backends have where they can: so many lines that stand together, which a reader asks
/// memory for before it has the view's.
///
/// `index`: the view's in VIEWS, below 2²⁹.
#[must_use]
#[inline(always)]
pub const fn home(index: u32) -> Range<u32> {
    index * HOME..(index + 1) * HOME
}

/// The numbers of the first cells of a view's two banks.
///
/// `index`: the view's in VIEWS, below 2²⁹.
#[must_use]
pub const fn banks(index: u32) -> [u32; 2] {
    let first = OWN | (index << OWN_CELLS_LOG2);
    [first, first + BANK_CELLS]
}

/// The view whose own a cell is, and which of its cells; none for a cell of SLOTS.
#[must_use]
pub const fn own_cell(cell: u32) -> Option<(u32, usize)> {
    if cell & OWN == 0 {
        return None;
    }
    Some(((cell & !OWN) >> OWN_CELLS_LOG2, own_place(cell)))
}

/// Which of its view's cells an own cell is.
#[must_use]
#[inline(always)]
pub const fn own_place(cell: u32) -> usize {
    cell as usize % OWN_CELLS
}

/// Whether a cell is a view's own.
#[must_use]
#[inline(always)]
pub const fn is_own(cell: u32) -> bool {
    cell & OWN != 0
}

/// How a backend is picked from the slots.
pub mod algorithm {
    /// A uniform slot.
    pub const RANDOM: u32 = 0;
    /// Of two random slots the one whose backend has fewer active connections.
    pub const LEAST_CONN: u32 = 1;
    /// The slot that a hash of the client names, in a Maglev table.
    pub const MAGLEV: u32 = 2;
    /// One slot after the other.
    pub const ROUND_ROBIN: u32 = 3;
}

/// A view's run of cells, in SLOTS or among its own. A cell holds two backend ids, the first in its lower half.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlotRun {
    /// The first cell.
    pub base: u32,
    /// In slots, not in cells.
    pub length: u32,
}

impl SlotRun {
    #[must_use]
    #[inline(always)]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the lower half is what is meant"
    )]
    pub const fn from_word(word: u64) -> Self {
        Self {
            base: (word >> 32) as u32,
            length: word as u32,
        }
    }

    #[must_use]
    pub const fn to_word(self) -> u64 {
        (self.base as u64) << 32 | self.length as u64
    }

    /// How many cells the run takes.
    #[must_use]
    pub const fn cells(self) -> u32 {
        self.length.div_ceil(2)
    }

    /// The cell of a slot.
    #[must_use]
    #[inline(always)]
    pub const fn cell(self, slot: u32) -> u32 {
        self.base.wrapping_add(slot / 2)
    }
}

/// The backend id that a cell holds for a slot.
#[must_use]
#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "the half that is meant was shifted down"
)]
pub const fn slot_of(cell: u64, slot: u32) -> u32 {
    (cell >> (32 * (slot & 1))) as u32
}
