//! The tables of the classic design that user space fills. IPv4 only.
//!
//! The programs here and the bench that loads them (`lb-testbed/src/bin/bench/reference.rs`) both include this file as
//! a module. The agent has none of these tables, so they are not in lb-common.

use bytemuck::{Pod, Zeroable};

/// Key of SERVICES.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct ServiceKey {
    /// In network byte order.
    pub address: u32,
    /// In network byte order.
    pub port: u16,
    /// 0: the Service itself. Its slots are 1 to [`ServiceValue::slots`].
    pub slot: u16,
    /// IPPROTO_TCP or IPPROTO_UDP.
    pub protocol: u8,
    /// Padding, always 0: the kernel compares keys byte by byte.
    pub zero: [u8; 3],
}

/// Value of SERVICES.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct ServiceValue {
    /// In a slot: the key of a backend in BACKENDS.
    pub backend: u32,
    /// In the Service itself: number of its slots.
    pub slots: u32,
}

/// Value of BACKENDS.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct BackendValue {
    /// In network byte order.
    pub address: u32,
    /// In network byte order, in the lower half.
    pub port: u32,
}
