//! ORIGINS and SPILL: which frontend each socket asked for, and which backend it was given.
//!
//! ORIGINS is an array of sets with four entries each. A socket's cookie selects its set. If all entries of the set are
//! in use, the socket is in the hash SPILL instead (cookie to pair).

use bytemuck::{Pod, Zeroable};

/// Frontend id and backend id, stored as one 64-bit word in both tables. Frontend 0: none yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pair {
    /// Id in FRONTEND_LIST, below 2³¹.
    pub frontend: u32,
    /// Id in BACKENDS.
    pub backend: u32,
    /// FLOWS and REPLIES contain more about this socket.
    pub has_flows: bool,
}

/// The bit of a pair's word that is [`Pair::has_flows`].
pub const HAS_FLOWS: u64 = 1 << 63;

impl Pair {
    /// From its word in a table.
    #[must_use]
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "takes the lower half")]
    pub const fn from_word(word: u64) -> Self {
        Self {
            frontend: ((word & !HAS_FLOWS) >> 32) as u32,
            backend: word as u32,
            has_flows: word & HAS_FLOWS != 0,
        }
    }

    /// Its word in a table: `has_flows` in bit 63, the frontend in bits 32 to 62, the backend in bits 0 to 31.
    #[must_use]
    #[inline(always)]
    pub const fn to_word(self) -> u64 {
        let flows = if self.has_flows { HAS_FLOWS } else { 0 };
        flows | (self.frontend as u64) << 32 | self.backend as u64
    }
}

/// One socket in ORIGINS. Cookie 0: free.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Entry {
    /// The socket's (SO_COOKIE).
    pub cookie: u64,
    /// A [`Pair`] as one word, written after the cookie was claimed and cleared before the cookie is.
    pub pair: u64,
}

/// Number of sockets that one set has room for.
pub const ENTRIES_PER_SET: usize = 4;

/// Element of ORIGINS: one 64-byte line.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Set {
    pub entries: [Entry; ENTRIES_PER_SET],
}

impl Set {
    /// Length in 64-bit words.
    pub const WORDS: usize = size_of::<Self>() / 8;
}

/// Index of the set that may contain a socket. The kernel hands out cookies in sequence on each CPU (`gen_cookie_next`
/// in include/linux/cookie.h), so neighbours share a line.
///
/// `mask`: the number of sets, which is a power of two, minus one.
#[must_use]
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "masked to fewer bits")]
pub const fn set_of(cookie: u64, mask: u32) -> u32 {
    (cookie >> 2) as u32 & mask
}
