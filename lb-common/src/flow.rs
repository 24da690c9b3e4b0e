//! FLOWS and REPLIES: an unconnected UDP socket's further frontends; its first one is in ORIGINS.
//!
//! Both are LRU maps: what is pushed out costs a flow its backend, or a reply its frontend's address.

use bytemuck::{Pod, Zeroable};

use crate::Address;

/// Key of FLOWS; the value is the backend's id.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct FlowKey {
    pub cookie: u64,
    pub frontend: u32,
    pub zero: u32,
}

/// Key of REPLIES: where a reply comes from, which is all that `recvmsg` sees of it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct ReplyKey {
    pub cookie: u64,
    /// The backend's, in network byte order, IPv4 mapped.
    pub address: Address,
    /// In network byte order.
    pub port: u32,
    pub zero: u32,
}

/// Value of REPLIES: the frontend itself, not its id, which may be given to another before this is pushed out.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Reply {
    /// In network byte order, IPv4 mapped.
    pub address: Address,
    /// In network byte order.
    pub port: u32,
}
