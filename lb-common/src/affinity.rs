//! AFFINITY: the backend that a client of a service port has, and when it last used it.

#[cfg(not(feature = "next-layout"))]
use bytemuck::{Pod, Zeroable};

#[cfg(feature = "next-layout")]
pub use crate::rehearsal::AffinityKey;

/// Key of AFFINITY. A client is a network namespace: on a node that is a pod, or the host.
#[cfg(not(feature = "next-layout"))]
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct AffinityKey {
    /// SO_NETNS_COOKIE.
    pub client: u64,
    pub service_port: u32,
    pub zero: u32,
}

/// Value of AFFINITY, always as one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Affinity {
    pub backend: u32,
    /// In units of [`unit`]: wraps after nine years.
    pub last_use: u32,
}

/// 2²⁶ ns, 67 ms.
const UNIT: u32 = 26;

/// A time in the unit of [`Affinity::last_use`].
///
/// `nanoseconds`: on any clock that does not go back.
#[must_use]
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "it wraps")]
pub const fn unit(nanoseconds: u64) -> u32 {
    (nanoseconds >> UNIT) as u32
}

impl Affinity {
    #[must_use]
    #[inline(always)]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the lower half is what is meant"
    )]
    pub const fn from_word(word: u64) -> Self {
        Self {
            backend: (word >> 32) as u32,
            last_use: word as u32,
        }
    }

    #[must_use]
    #[inline(always)]
    pub const fn to_word(self) -> u64 {
        (self.backend as u64) << 32 | self.last_use as u64
    }

    /// Whether it still holds. Never too short: up to a unit more than `seconds`.
    #[must_use]
    #[inline(always)]
    pub const fn holds(self, now: u32, seconds: u32) -> bool {
        let age = now.wrapping_sub(self.last_use) as u64;
        age << UNIT <= seconds as u64 * 1_000_000_000 + (1 << UNIT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn it_holds_for_so_long_and_no_longer() {
        let used = 5 * SECOND + 999_999_999;
        let affinity = Affinity {
            backend: 7,
            last_use: unit(used),
        };
        assert_eq!(Affinity::from_word(affinity.to_word()), affinity);
        assert!(affinity.holds(unit(used), 1));
        assert!(affinity.holds(unit(used + SECOND), 1));
        assert!(!affinity.holds(unit(used + SECOND + 200_000_000), 1));
        assert!(affinity.holds(unit(used + 86_400 * SECOND), 86_400));
        assert!(!affinity.holds(unit(used + 86_401 * SECOND), 86_400));
    }

    #[test]
    fn the_clock_may_wrap() {
        let affinity = Affinity {
            backend: 1,
            last_use: u32::MAX,
        };
        assert!(affinity.holds(3, 1));
        assert!(!affinity.holds(30, 1));
    }
}
