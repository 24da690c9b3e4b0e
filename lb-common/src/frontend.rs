//! FRONTENDS: a hash from what a client connects to, to a view. FRONTEND_LIST: an array from a frontend's id back to
//! its address.

use bytemuck::{Pod, Zeroable};

use crate::Address;

/// Key of FRONTENDS. With port and protocol 0 it is the key of an address's [`guard`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Pod, Zeroable)]
pub struct FrontendKey {
    /// In network byte order, IPv4 mapped.
    pub address: Address,
    /// In network byte order.
    pub port: u16,
    /// IPPROTO_TCP or IPPROTO_UDP.
    pub protocol: u8,
    /// Padding, always 0: the kernel compares keys byte by byte.
    pub zero: u8,
}

impl FrontendKey {
    /// A key from an address and a port in network byte order.
    #[must_use]
    #[inline(always)]
    pub const fn new(address: Address, port: u16, protocol: u8) -> Self {
        Self {
            address,
            port,
            protocol,
            zero: 0,
        }
    }

    /// A 32-bit hash of the key, stored in the element's value so that a reader can verify whose value it has.
    ///
    /// The kernel reuses a deleted element of a preallocated hash at once (`htab_elem_free` in kernel/bpf/hashtab.c),
    /// so a reader may hold an element that has become another key's. Each translated connect computes the hash, so it
    /// is a cheap one: three multiplications.
    #[must_use]
    #[inline(always)]
    pub const fn tag(&self) -> u32 {
        const ODD: [u64; 3] = [
            0x9e37_79b9_7f4a_7c15,
            0xc2b2_ae3d_27d4_eb4f,
            0xd6e8_feb8_6659_fd93,
        ];
        let high = (self.address[0] as u64) << 32 | self.address[1] as u64;
        let low = (self.address[2] as u64) << 32 | self.address[3] as u64;
        let port = (self.port as u64) << 8 | self.protocol as u64;
        let mixed = (high ^ high >> 29)
            .wrapping_mul(ODD[0])
            .wrapping_add((low ^ low >> 31).wrapping_mul(ODD[1]))
            .wrapping_add(port.wrapping_mul(ODD[2]));
        (mixed >> 32) as u32
    }
}

/// FILTER: an array of bits, selected by the upper bits of a tag. A bit is set while FRONTENDS may contain a key with
/// such a tag. Most of a node's connects are misses: they read one word of this small array and need no hash look-up.
pub mod filter {
    /// Number of 64-bit words in FILTER, a power of two: eight bits for each element of a full FRONTENDS.
    pub const WORDS: u32 = 1 << WORDS_LOG2;

    const WORDS_LOG2: u32 = 13;

    /// The index of a tag's word, and the tag's bit in it.
    #[must_use]
    #[inline(always)]
    pub const fn word_and_bit(tag: u32) -> (u32, u64) {
        (
            tag >> (32 - WORDS_LOG2),
            1 << (tag >> (26 - WORDS_LOG2) & 63),
        )
    }
}

/// Value of FRONTENDS: two words with a number in the lower half. Each has the key's tag in the upper half, since the
/// words are not read together.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct FrontendValue {
    view: u64,
    frontend: u64,
}

/// The frontend that a key of FRONTENDS belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Index in VIEWS.
    pub view: u32,
    /// Id in FRONTEND_LIST; below 2³⁰.
    pub frontend: u32,
    /// Only for clients in the host's network namespace.
    pub is_host_only: bool,
    /// Only for packets from the service port's source ranges. A socket's own address is not known before the choice.
    pub has_source_ranges: bool,
}

/// The bit beside a frontend id that is [`Target::is_host_only`].
const HOST_ONLY: u32 = 1 << 31;

/// The bit beside a frontend id that is [`Target::has_source_ranges`].
const SOURCE_RANGES: u32 = 1 << 30;

impl FrontendValue {
    #[must_use]
    pub const fn new(key: &FrontendKey, target: Target) -> Self {
        let tag = (key.tag() as u64) << 32;
        let host_only = if target.is_host_only { HOST_ONLY } else { 0 };
        let ranges = if target.has_source_ranges {
            SOURCE_RANGES
        } else {
            0
        };
        Self {
            view: tag | target.view as u64,
            frontend: tag | (target.frontend | host_only | ranges) as u64,
        }
    }

    /// From the two words of a table's element.
    #[must_use]
    #[inline(always)]
    pub const fn from_words(view: u64, frontend: u64) -> Self {
        Self { view, frontend }
    }

    /// Its target; none unless both words have this tag.
    #[must_use]
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "takes the lower half")]
    pub const fn read(&self, tag: u32) -> Option<Target> {
        if (self.view >> 32) as u32 != tag || (self.frontend >> 32) as u32 != tag {
            return None;
        }
        let frontend = self.frontend as u32;
        Some(Target {
            view: self.view as u32,
            frontend: frontend & !(HOST_ONLY | SOURCE_RANGES),
            is_host_only: frontend & HOST_ONLY != 0,
            has_source_ranges: frontend & SOURCE_RANGES != 0,
        })
    }
}

/// Element of FRONTEND_LIST: the address that `getpeername` and replies report. Id 0 is never allocated.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct FrontendEntry {
    /// In network byte order, IPv4 mapped.
    pub address: Address,
    /// In network byte order.
    pub port: u16,
    /// IPPROTO_TCP or IPPROTO_UDP.
    pub protocol: u8,
    /// One of [`kind`].
    pub kind: u8,
    /// With `externalTrafficPolicy: Local`, the index of the view for packets from outside; 0: they use the frontend's own.
    pub outside_view: u32,
}

impl FrontendEntry {
    /// Length in 64-bit words.
    pub const WORDS: usize = size_of::<Self>() / 8;
}

/// What happens to calls to those ports of an address that are not frontends. Stored in place of a frontend id in the
/// element whose key has this address, port 0 and protocol 0.
pub mod guard {
    /// They are refused: the address is a ClusterIP that we serve.
    pub const REFUSE: u32 = 0;
    /// They pass unchanged: the address belongs to a Service that we do not serve.
    pub const PASS: u32 = 1;
}

/// Values of [`FrontendEntry::kind`].
pub mod kind {
    pub const CLUSTER_IP: u8 = 1;
    pub const NODE_PORT: u8 = 2;
    pub const EXTERNAL_IP: u8 = 3;
    pub const LOAD_BALANCER: u8 = 4;
}
