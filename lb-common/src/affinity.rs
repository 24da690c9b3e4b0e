//! AFFINITY: the backend of each client of a service port with session affinity, and the time of its last connection.
//!
//! It is an LRU map. A client whose element was evicted gets a new backend.

use crate::config::{first_half, last_half};
#[cfg(feature = "next-layout")]
pub use crate::next_layout::AffinityKey;
use crate::{Address, is_mapped};

/// Key of AFFINITY. A client is a network namespace (a pod, or the host) at a socket, and an address in the packet path.
#[cfg(not(feature = "next-layout"))]
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, bytemuck::Pod, bytemuck::Zeroable)]
pub struct AffinityKey {
    /// Cookie of the client's network namespace (SO_NETNS_COOKIE), or [`address_client`].
    pub client: u64,
    /// The service port's id.
    pub service_port: u32,
    /// Padding, always 0: the kernel compares keys byte by byte.
    pub zero: u32,
}

/// Value of AFFINITY, stored as one 64-bit word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Affinity {
    /// Id in BACKENDS.
    pub backend: u32,
    /// Time of the client's last connection, from [`ticks`]. Wraps after nine years.
    pub last_use: u32,
}

/// The client that sends from an address. Differs from every cookie, since the kernel counts these upwards from 1. Of
/// several IPv6 addresses with the same 63-bit hash, which are one client here, each still gets a backend.
#[must_use]
#[inline(always)]
pub const fn address_client(address: Address) -> u64 {
    const ADDRESS: u64 = 1 << 63;
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    if is_mapped(address) {
        return ADDRESS | address[3] as u64;
    }
    let mixed = first_half(address).wrapping_mul(ODD) ^ last_half(address);
    ADDRESS | mixed.wrapping_mul(ODD) >> 1
}

/// A tick is 2²⁶ ns: 67 ms.
const TICK_LOG2: u32 = 26;

/// A second in ns.
const SECOND: u64 = 1_000_000_000;

/// A time in ticks, the unit of [`Affinity::last_use`].
///
/// `nanoseconds`: of any clock that never goes back.
#[must_use]
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "it wraps")]
pub const fn ticks(nanoseconds: u64) -> u32 {
    (nanoseconds >> TICK_LOG2) as u32
}

impl Affinity {
    /// From its word in the table.
    #[must_use]
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "takes the lower half")]
    pub const fn from_word(word: u64) -> Self {
        Self {
            backend: (word >> 32) as u32,
            last_use: word as u32,
        }
    }

    /// Its word in the table: the backend in the upper half, the time in the lower half.
    #[must_use]
    #[inline(always)]
    pub const fn to_word(self) -> u64 {
        (self.backend as u64) << 32 | self.last_use as u64
    }

    /// For how many seconds it still holds, rounded up; none: it no longer does.
    ///
    /// `now`: in ticks.
    #[must_use]
    pub fn seconds_left(&self, now: u32, seconds: u32) -> Option<u32> {
        let age = u64::from(now.wrapping_sub(self.last_use)) << TICK_LOG2;
        let left = (u64::from(seconds) * SECOND).saturating_sub(age);
        let left = u32::try_from(left.div_ceil(SECOND)).ok()?;
        self.holds(now, seconds).then_some(left)
    }

    /// Whether it still holds at the time `now`. It holds for at least `seconds`, and up to one tick longer.
    ///
    /// `now`: in ticks.
    #[must_use]
    #[inline(always)]
    pub const fn holds(self, now: u32, seconds: u32) -> bool {
        let age = now.wrapping_sub(self.last_use) as u64;
        age << TICK_LOG2 <= seconds as u64 * 1_000_000_000 + (1 << TICK_LOG2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapped;

    #[test]
    fn affinity_holds_until_its_timeout() {
        let used = 5 * SECOND + 999_999_999;
        let affinity = Affinity {
            backend: 7,
            last_use: ticks(used),
        };
        assert_eq!(Affinity::from_word(affinity.to_word()), affinity);
        assert!(affinity.holds(ticks(used), 1));
        assert!(affinity.holds(ticks(used + SECOND), 1));
        assert!(!affinity.holds(ticks(used + SECOND + 200_000_000), 1));
        assert!(affinity.holds(ticks(used + 86_400 * SECOND), 86_400));
        assert!(!affinity.holds(ticks(used + 86_401 * SECOND), 86_400));
    }

    #[test]
    fn the_seconds_left_end_with_the_affinity() {
        let affinity = Affinity {
            backend: 7,
            last_use: ticks(0),
        };
        let left = |at: u64| affinity.seconds_left(ticks(at), 10);
        assert_eq!(left(0), Some(10));
        assert_eq!(left(5 * SECOND + 100_000_000), Some(5));
        assert_eq!(left(10 * SECOND), Some(1));
        assert_eq!(left(11 * SECOND), None);
    }

    #[test]
    fn an_address_is_no_network_namespace() {
        for address in [mapped(0), mapped(u32::MAX), [0; 4], [u32::MAX; 4]] {
            assert!(address_client(address) >= 1 << 63, "{address:?}");
        }
    }

    #[test]
    fn every_ipv4_address_is_a_client_of_its_own() {
        // The address takes the lower half, and nothing else is in it.
        for address in [0, 1, 0x0a00_0001, 0xffff_ffff] {
            assert_eq!(
                address_client(mapped(address)),
                1 << 63 | u64::from(address)
            );
        }
    }

    #[test]
    fn ipv6_addresses_that_clients_have_are_clients_of_their_own() {
        // Hosts in one network, and equal hosts in many networks: each differs from its neighbour by one, in network byte order.
        let hosts = (0..10_000_u32).map(|host| [0xfd00_u32.to_be(), 0, 0, host.to_be()]);
        let networks = (1..10_000_u32).map(|net| [0xfd00_u32.to_be(), net.to_be(), 0, 0]);
        // 2001:db8:N::N: what differs is in both halves.
        let both = (1..10_000_u32).map(|n| [0x2001_0db8_u32.to_be(), n.to_be(), 0, n.to_be()]);
        let mut clients: [u64; 29_998] = [0; 29_998];
        for (client, address) in clients.iter_mut().zip(hosts.chain(networks).chain(both)) {
            *client = address_client(address);
        }
        clients.sort_unstable();
        assert!(clients[0] >= 1 << 63);
        assert!(clients.windows(2).all(|pair| pair[0] != pair[1]));
    }

    #[test]
    fn a_wrapping_clock_is_handled() {
        let affinity = Affinity {
            backend: 1,
            last_use: u32::MAX,
        };
        assert!(affinity.holds(3, 1));
        assert!(!affinity.holds(30, 1));
    }
}
