//! NEAR_FRONTENDS: what FRONTENDS says of IPv4 frontends, four to a cache line, so that finding one reads one line where the
//! hash reads a bucket and an element in tables many times as large.
//!
//! Only a copy: what is not here is looked up in FRONTENDS.

use bytemuck::{Pod, Zeroable};

use crate::{FrontendKey, Target, is_mapped};

/// How many lines there are, a power of two: two cells for each frontend when FRONTENDS is full.
pub const LINES: u32 = 1 << 15;

/// Cells in a line.
pub const CELLS: usize = 4;

/// Element of NEAR_FRONTENDS: keys and values in turn.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Line {
    pub cells: [Cell; CELLS],
}

impl Line {
    /// Length in 64-bit words.
    pub const WORDS: usize = size_of::<Self>() / 8;

    /// The line in which a key with this tag may stand.
    ///
    /// The lower bits of the tag: FILTER takes the upper ones.
    #[must_use]
    #[inline(always)]
    pub const fn of(tag: u32) -> u32 {
        tag & (LINES - 1)
    }
}

/// A frontend, or nothing where the key is 0.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Cell {
    pub key: u64,
    pub value: u64,
}

const VIEW_SHIFT: u32 = 24;
const TAG_SHIFT: u32 = 48;
const HOST_ONLY: u64 = 1 << 23;
const MOST_FRONTENDS: u32 = 1 << 23;
const MOST_VIEWS: u32 = 1 << 24;

impl Cell {
    /// The word for a key; none where it has no place here. Never 0.
    #[must_use]
    #[inline(always)]
    pub const fn key(key: &FrontendKey) -> Option<u64> {
        if key.protocol == 0 || !is_mapped(key.address) {
            return None;
        }
        Some((key.address[3] as u64) << 32 | (key.port as u64) << 8 | key.protocol as u64)
    }

    /// The key that a word is of; none where no key has such a word.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "each number is cut to its bits first"
    )]
    pub fn frontend_key(word: u64) -> Option<FrontendKey> {
        let address = crate::mapped((word >> 32) as u32);
        let key = FrontendKey::new(address, (word >> 8) as u16, word as u8);
        (Self::key(&key) == Some(word)).then_some(key)
    }

    /// The word that says what FRONTENDS says of a key with this tag; none where the numbers are too large for it.
    #[must_use]
    pub const fn value(tag: u32, target: Target) -> Option<u64> {
        if target.view >= MOST_VIEWS || target.frontend >= MOST_FRONTENDS {
            return None;
        }
        let host_only = if target.is_host_only { HOST_ONLY } else { 0 };
        let view = (target.view as u64) << VIEW_SHIFT;
        Some(upper_half(tag) << TAG_SHIFT | view | host_only | target.frontend as u64)
    }

    /// What a value says, if it is of a key with this tag.
    ///
    /// A cell may become another key's while it is read, and the two words are read one after the other, in no order that
    /// every CPU keeps: so the value says whose it is.
    #[must_use]
    #[inline(always)]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "each number is cut to its bits first"
    )]
    pub const fn read(value: u64, tag: u32) -> Option<Target> {
        if value >> TAG_SHIFT != upper_half(tag) {
            return None;
        }
        Some(Target {
            view: (value >> VIEW_SHIFT) as u32 & (MOST_VIEWS - 1),
            frontend: value as u32 & (MOST_FRONTENDS - 1),
            is_host_only: value & HOST_ONLY != 0,
        })
    }
}

#[inline(always)]
const fn upper_half(tag: u32) -> u64 {
    (tag >> 16) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapped;

    const KEY: FrontendKey = FrontendKey::new(mapped(0x0a00_600a), 0x5000, 6);

    #[test]
    fn a_cell_says_what_was_put_into_it() {
        for target in [
            Target {
                view: 0,
                frontend: 1,
                is_host_only: false,
            },
            Target {
                view: MOST_VIEWS - 1,
                frontend: MOST_FRONTENDS - 1,
                is_host_only: true,
            },
        ] {
            let value = Cell::value(KEY.tag(), target).expect("both numbers have room");
            assert_eq!(Cell::read(value, KEY.tag()), Some(target));
            assert_eq!(Cell::read(value, KEY.tag() ^ 1 << 16), None);
        }
    }

    #[test]
    fn numbers_without_room_have_no_cell() {
        for (view, frontend) in [(MOST_VIEWS, 1), (1, MOST_FRONTENDS)] {
            let target = Target {
                view,
                frontend,
                is_host_only: false,
            };
            assert_eq!(Cell::value(KEY.tag(), target), None);
        }
    }

    #[test]
    fn only_ipv4_frontends_have_a_key_and_it_is_never_zero() {
        assert!(Cell::key(&KEY).is_some_and(|word| word != 0));
        assert_eq!(Cell::key(&FrontendKey::new([1, 2, 3, 4], 80, 6)), None);
        assert_eq!(Cell::key(&FrontendKey::new(KEY.address, 0, 0)), None);
    }
}
