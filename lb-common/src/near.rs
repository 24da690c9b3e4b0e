//! NEAR_FRONTENDS: a copy of FRONTENDS' IPv4 frontends, four in a 64-byte line. Finding one reads a single cache line;
//! the hash reads a bucket and an element, in tables many times as large.
//!
//! It need not be complete: a frontend that is not here is looked up in FRONTENDS.

use bytemuck::{Pod, Zeroable};

use crate::{FrontendKey, Target, is_mapped};

/// Number of lines, a power of two: room for twice as many frontends as a full FRONTENDS contains.
pub const LINES: u32 = 1 << 15;

/// Number of frontends in a line.
pub const FRONTENDS_PER_LINE: usize = 4;

/// Element of NEAR_FRONTENDS.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct NearLine {
    pub frontends: [NearFrontend; FRONTENDS_PER_LINE],
}

impl NearLine {
    /// Length in 64-bit words.
    pub const WORDS: usize = size_of::<Self>() / 8;

    /// Index of the line that may contain a key with this tag. Uses the lower bits of the tag, since FILTER uses the
    /// upper ones.
    #[must_use]
    #[inline(always)]
    pub const fn index(tag: u32) -> u32 {
        tag & (LINES - 1)
    }
}

/// A frontend in a line; free if the key is 0.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct NearFrontend {
    /// See [`Self::key_word`].
    pub key: u64,
    /// See [`Self::value_word`].
    pub value: u64,
}

// Positions in a value's word.
const VIEW_SHIFT: u32 = 24;
const TAG_SHIFT: u32 = 48;
const HOST_ONLY: u64 = 1 << 23;
const SOURCE_RANGES: u64 = 1 << 22;
const MAX_FRONTENDS: u32 = 1 << 22;
const MAX_VIEWS: u32 = 1 << 24;

impl NearFrontend {
    /// A key as one word: IPv4 address in bits 32 to 63, port in bits 8 to 23, both in network byte order, and protocol
    /// in bits 0 to 7. Never 0. None for an IPv6 frontend and for a guard.
    #[must_use]
    #[inline(always)]
    pub const fn key_word(key: &FrontendKey) -> Option<u64> {
        if key.protocol == 0 || !is_mapped(key.address) {
            return None;
        }
        Some((key.address[3] as u64) << 32 | (key.port as u64) << 8 | key.protocol as u64)
    }

    /// The inverse of [`Self::key_word`]; none if no key has this word.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "each number is cut to its bits first"
    )]
    pub fn frontend_key(word: u64) -> Option<FrontendKey> {
        let address = crate::mapped((word >> 32) as u32);
        let key = FrontendKey::new(address, (word >> 8) as u16, word as u8);
        (Self::key_word(&key) == Some(word)).then_some(key)
    }

    /// A target as one word: upper half of the key's tag in bits 48 to 63, view in bits 24 to 47, `is_host_only` in bit
    /// 23, `has_source_ranges` in bit 22, frontend id in bits 0 to 21. None if one of the numbers is too large for that.
    #[must_use]
    pub const fn value_word(tag: u32, target: Target) -> Option<u64> {
        if target.view >= MAX_VIEWS || target.frontend >= MAX_FRONTENDS {
            return None;
        }
        let host_only = if target.is_host_only { HOST_ONLY } else { 0 };
        let ranges = if target.has_source_ranges {
            SOURCE_RANGES
        } else {
            0
        };
        let view = (target.view as u64) << VIEW_SHIFT;
        let flags = host_only | ranges;
        Some(upper_half(tag) << TAG_SHIFT | view | flags | target.frontend as u64)
    }

    /// The target of a value's word; none unless the word has this tag.
    ///
    /// The two words may become another frontend's while they are read, and not every CPU reads them in the same order.
    /// So the value repeats a part of the tag.
    #[must_use]
    #[inline(always)]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "each number is cut to its bits first"
    )]
    pub const fn target(value: u64, tag: u32) -> Option<Target> {
        if value >> TAG_SHIFT != upper_half(tag) {
            return None;
        }
        Some(Target {
            view: (value >> VIEW_SHIFT) as u32 & (MAX_VIEWS - 1),
            frontend: value as u32 & (MAX_FRONTENDS - 1),
            is_host_only: value & HOST_ONLY != 0,
            has_source_ranges: value & SOURCE_RANGES != 0,
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
    fn a_value_is_read_back_by_its_tag_only() {
        for target in [
            Target {
                view: 0,
                frontend: 1,
                is_host_only: false,
                has_source_ranges: true,
            },
            Target {
                view: MAX_VIEWS - 1,
                frontend: MAX_FRONTENDS - 1,
                is_host_only: true,
                has_source_ranges: false,
            },
        ] {
            let value =
                NearFrontend::value_word(KEY.tag(), target).expect("both numbers have room");
            assert_eq!(NearFrontend::target(value, KEY.tag()), Some(target));
            assert_eq!(NearFrontend::target(value, KEY.tag() ^ 1 << 16), None);
        }
    }

    #[test]
    fn too_large_numbers_have_no_value() {
        for (view, frontend) in [(MAX_VIEWS, 1), (1, MAX_FRONTENDS)] {
            let target = Target {
                view,
                frontend,
                is_host_only: false,
                has_source_ranges: false,
            };
            assert_eq!(NearFrontend::value_word(KEY.tag(), target), None);
        }
    }

    #[test]
    fn only_ipv4_frontends_have_a_key_and_it_is_never_zero() {
        assert!(NearFrontend::key_word(&KEY).is_some_and(|word| word != 0));
        assert_eq!(
            NearFrontend::key_word(&FrontendKey::new([1, 2, 3, 4], 80, 6)),
            None
        );
        assert_eq!(
            NearFrontend::key_word(&FrontendKey::new(KEY.address, 0, 0)),
            None
        );
    }
}
