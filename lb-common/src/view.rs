//! VIEWS and SLOTS: the backends that a frontend chooses from.
//!
//! A view has a run of slots, and each slot contains a backend's id. Two slots share a 64-bit cell. A run of up to four
//! slots is in the view's own cells; longer ones are in the array SLOTS.

use core::mem::offset_of;
use core::ops::Range;

#[cfg(feature = "next-layout")]
pub use crate::next_layout::View;

/// Element of VIEWS: one 64-byte line. Index 0 is never allocated.
#[cfg(not(feature = "next-layout"))]
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct View {
    /// A [`SlotRun`] as one word, so that readers see either the old run or the new one.
    pub slots: u64,
    /// The service port's id, which is also in each of its backends.
    pub service_port: u32,
    /// Timeout of session affinity in seconds; 0: no affinity.
    pub affinity_seconds: u32,
    /// One of [`algorithm`].
    pub algorithm: u32,
    /// The [`crate::backend::state`] bit of backends that this view may choose.
    pub member: u32,
    /// [`flag`] bits.
    pub flags: u32,
    /// Padding, always 0.
    pub zero: u32,
    /// Cells for a short run, so that a pick reads one line less. Two banks: one is in use, the other may still have
    /// readers.
    pub cells: [u64; OWN_CELLS],
}

/// Number of a view's own cells: two banks.
pub(crate) const OWN_CELLS: usize = 1 << OWN_CELLS_LOG2;

const OWN_CELLS_LOG2: u32 = 2;

/// Number of slots in a bank of a view's own cells.
pub const BANK_SLOTS: u32 = 4;

/// Number of cells in a bank.
const BANK_CELLS: u32 = BANK_SLOTS / 2;

/// The bit of a cell's number that marks a view's own cell; without it the number is an index in SLOTS.
const OWN: u32 = 1 << 31;

impl View {
    /// Length in 64-bit words.
    pub const WORDS: usize = size_of::<Self>() / 8;
    /// Index of the word that contains `slots`.
    pub const SLOTS_WORD: usize = offset_of!(Self, slots) / 8;
    /// Index of the first word of `cells`.
    pub const CELLS_WORD: usize = offset_of!(Self, cells) / 8;
}

/// Number of backend ids that are preferred for a view.
const HOME: u32 = 4;

/// The backend ids that the agent prefers for a view's backends. A program prefetches these lines of BACKENDS while it
/// still waits for the view's line.
///
/// `index`: the view's in VIEWS, below 2²⁹.
#[must_use]
#[inline(always)]
pub const fn home(index: u32) -> Range<u32> {
    index * HOME..(index + 1) * HOME
}

/// The numbers of the first cell of each of a view's two banks.
///
/// `index`: the view's in VIEWS, below 2²⁹.
#[must_use]
pub const fn banks(index: u32) -> [u32; 2] {
    let first = OWN | (index << OWN_CELLS_LOG2);
    [first, first + BANK_CELLS]
}

/// The index of the view that a cell belongs to, and the cell's index among that view's own cells. None for a cell of
/// SLOTS.
#[must_use]
pub const fn own_cell(cell: u32) -> Option<(u32, usize)> {
    if cell & OWN == 0 {
        return None;
    }
    Some(((cell & !OWN) >> OWN_CELLS_LOG2, own_cell_index(cell)))
}

/// The index of a view's own cell among its view's cells.
#[must_use]
#[inline(always)]
pub const fn own_cell_index(cell: u32) -> usize {
    cell as usize % OWN_CELLS
}

/// Whether a cell is a view's own.
#[must_use]
#[inline(always)]
pub const fn is_own(cell: u32) -> bool {
    cell & OWN != 0
}

/// Values of [`View::algorithm`]: how a backend is picked from the slots.
pub mod algorithm {
    /// A random slot, all with the same probability.
    pub const RANDOM: u32 = 0;
    /// Of two random slots, the one whose backend has fewer active connections.
    pub const LEAST_CONN: u32 = 1;
    /// The slot that a hash of the client selects, in a Maglev table.
    pub const MAGLEV: u32 = 2;
    /// Each slot in turn.
    pub const ROUND_ROBIN: u32 = 3;
}

/// Bits of [`View::flags`].
pub mod flag {
    /// The view has no backend only because a policy is Local: other nodes have endpoints. kube-proxy then drops packets
    /// instead of rejecting them.
    pub const ENDPOINTS_ELSEWHERE: u32 = 1;
}

/// Consecutive cells, in SLOTS or among a view's own. A cell contains two slots, the first in its lower half.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlotRun {
    /// Number of the first cell.
    pub base: u32,
    /// Number of slots, not of cells.
    pub length: u32,
}

impl SlotRun {
    /// From its word in a view.
    #[must_use]
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "takes the lower half")]
    pub const fn from_word(word: u64) -> Self {
        Self {
            base: (word >> 32) as u32,
            length: word as u32,
        }
    }

    /// Its word in a view: base in the upper half, length in the lower half.
    #[must_use]
    pub const fn to_word(self) -> u64 {
        (self.base as u64) << 32 | self.length as u64
    }

    /// Number of cells in the run.
    #[must_use]
    pub const fn cells(self) -> u32 {
        self.length.div_ceil(2)
    }

    /// The number of the cell that contains a slot.
    #[must_use]
    #[inline(always)]
    pub const fn cell(self, slot: u32) -> u32 {
        self.base.wrapping_add(slot / 2)
    }
}

/// The backend id in a slot.
///
/// `cell`: the word of the slot's cell. `slot`: the slot's index in its run.
#[must_use]
#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "takes the half that was shifted down"
)]
pub const fn slot_of(cell: u64, slot: u32) -> u32 {
    (cell >> (32 * (slot & 1))) as u32
}
