//! The expressions of our rules: the instructions of nf_tables' virtual machine, in the order in which they run.
//!
//! All of them work on one register, so that a rule reads like a sentence. `nft --debug=netlink list table inet socklb` prints them.

use std::ffi::CStr;

use netlink_bindings::nftables::MetaKeys;

/// A property of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meta {
    /// `skb->priority`; four bytes.
    Priority,
    /// The packet mark; four bytes.
    Mark,
    /// The index of the device that the packet came in by; four bytes.
    InputDevice,
    /// NFPROTO_IPV4 or NFPROTO_IPV6; one byte.
    Family,
    /// The number of the transport protocol; one byte.
    Protocol,
}

/// The content of the register; words are in the CPU's byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    Byte(u8),
    Word(u32),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expression {
    /// Loads into the register.
    Load(Meta),
    /// Loads the state bit of conntrack.
    LoadConnectionState,
    /// Replaces the register by `(register & mask) ^ xor`.
    Mask {
        mask: u32,
        xor: u32,
    },
    /// Ends the rule if the register has another value.
    Is(Value),
    /// Ends the rule if the register has this value.
    IsNot(Value),
    /// Replaces the register by a word.
    Set(u32),
    /// Stores the register.
    Store(Meta),
    /// Replaces the register by what this map has for it; ends the rule if it has nothing.
    LookUp(&'static CStr),
    Count,
    Accept,
    Drop,
    RejectWithReset,
    /// Answers with ICMP or ICMPv6 "port unreachable".
    RejectWithUnreachable,
    /// To the address and port in the register.
    DnatIpv4,
    DnatIpv6,
    /// With a random port, as kube-proxy.
    Masquerade,
}

impl Meta {
    const ALL: [Self; 5] = [
        Self::Priority,
        Self::Mark,
        Self::InputDevice,
        Self::Family,
        Self::Protocol,
    ];

    /// NFT_META_*.
    pub const fn key(self) -> u32 {
        match self {
            Self::Priority => MetaKeys::Priority as u32,
            Self::Mark => MetaKeys::Mark as u32,
            Self::InputDevice => MetaKeys::Iif as u32,
            Self::Family => MetaKeys::Nfproto as u32,
            Self::Protocol => MetaKeys::L4Proto as u32,
        }
    }

    pub fn of(key: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|meta| meta.key() == key)
    }
}

impl Value {
    pub fn of(bytes: &[u8]) -> Option<Self> {
        match *bytes {
            [byte] => Some(Self::Byte(byte)),
            [a, b, c, d] => Some(Self::Word(u32::from_ne_bytes([a, b, c, d]))),
            _ => None,
        }
    }
}
