//! FLOWS and REPLIES: the frontends of an unconnected UDP socket after its first one, which is in ORIGINS.
//!
//! Both are LRU maps. An evicted element of FLOWS means that the next datagram may go to another backend; an evicted
//! element of REPLIES means that replies are reported with another frontend's address, or with the backend's.

use bytemuck::{Pod, Zeroable};

use crate::Address;

/// Key of FLOWS. The value is the backend's id.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct FlowKey {
    /// The socket's (SO_COOKIE).
    pub cookie: u64,
    /// Id in FRONTEND_LIST.
    pub frontend: u32,
    /// Padding, always 0: the kernel compares keys byte by byte.
    pub zero: u32,
}

/// Key of REPLIES: a socket and the source of a reply, the only thing about a reply that `recvmsg` hooks see.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct ReplyKey {
    /// The socket's (SO_COOKIE).
    pub cookie: u64,
    /// The backend's, in network byte order, IPv4 mapped.
    pub address: Address,
    /// In network byte order, in the lower half.
    pub port: u32,
    /// Padding, always 0: the kernel compares keys byte by byte.
    pub zero: u32,
}

/// Value of REPLIES: the address that a reply is reported as coming from. Not a frontend's id, since another frontend
/// may have that id before this element is evicted.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Reply {
    /// In network byte order, IPv4 mapped.
    pub address: Address,
    /// In network byte order, in the lower half.
    pub port: u32,
}
