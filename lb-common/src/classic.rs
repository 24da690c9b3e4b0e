//! The tables of the classic design, which `cargo xtask bench` compares ours with; the agent has none of them.
//!
//! A hash finds the Service, the same hash its slot, a second hash the backend, and an LRU hash remembers for the
//! socket what it had asked for. IPv4 only.

use bytemuck::{Pod, Zeroable};

/// Key of SERVICES.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct ServiceKey {
    /// In network byte order.
    pub address: u32,
    /// In network byte order.
    pub port: u16,
    /// 0: the Service itself; its slots begin at 1.
    pub slot: u16,
    pub protocol: u8,
    pub zero: [u8; 3],
}

/// Value of SERVICES.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct ServiceValue {
    /// In a slot: the backend's id, the key of BACKENDS.
    pub backend: u32,
    /// In the Service itself: how many slots it has.
    pub slots: u32,
}

/// Value of BACKENDS.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct BackendValue {
    /// In network byte order.
    pub address: u32,
    /// In network byte order.
    pub port: u32,
}

/// Key of ORIGINS: a socket and the backend that it talks to.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct OriginKey {
    pub cookie: u64,
    /// In network byte order.
    pub address: u32,
    /// In network byte order.
    pub port: u32,
}

/// Value of ORIGINS: what the socket asked for.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct OriginValue {
    /// In network byte order.
    pub address: u32,
    /// In network byte order.
    pub port: u32,
}
