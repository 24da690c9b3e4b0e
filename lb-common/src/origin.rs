//! ORIGINS and SPILL: what a socket asked for, and what it was given.

use bytemuck::{Pod, Zeroable};

/// Frontend id and backend id; in the tables always as one word. Frontend 0: nothing yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pair {
    /// Below 2³¹.
    pub frontend: u32,
    pub backend: u32,
    /// The socket has sent to other frontends too: FLOWS and REPLIES know more.
    pub has_flows: bool,
}

/// The bit of a pair's word that says [`Pair::has_flows`].
pub const HAS_FLOWS: u64 = 1 << 63;

impl Pair {
    #[must_use]
    #[inline(always)]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the lower half is what is meant"
    )]
    pub const fn from_word(word: u64) -> Self {
        Self {
            frontend: ((word & !HAS_FLOWS) >> 32) as u32,
            backend: word as u32,
            has_flows: word & HAS_FLOWS != 0,
        }
    }

    #[must_use]
    #[inline(always)]
    pub const fn to_word(self) -> u64 {
        let flows = if self.has_flows { HAS_FLOWS } else { 0 };
        flows | (self.frontend as u64) << 32 | self.backend as u64
    }
}

/// A cell of ORIGINS: one socket. Cookie 0: free.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Way {
    pub cookie: u64,
    /// A [`Pair`] as one word: written after the cookie was claimed, cleared before it is given back.
    pub pair: u64,
}

/// How many sockets share a set.
pub const WAYS: usize = 4;

/// Element of ORIGINS: one 64-byte line.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Set {
    pub ways: [Way; WAYS],
}

impl Set {
    /// Length in 64-bit words.
    pub const WORDS: usize = size_of::<Self>() / 8;
}

/// The set in which a socket has its way. Cookies come in sequence on each CPU (`gen_cookie_next`
/// in include/linux/cookie.h), so neighbours share a line.
///
/// `mask`: the number of sets, a power of two, less one.
#[must_use]
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "masked to fewer bits")]
pub const fn set_of(cookie: u64, mask: u32) -> u32 {
    (cookie >> 2) as u32 & mask
}
