//! The layouts that the feature `next-layout` puts in place of this version's: the same fields in another order.
//!
//! No release has them. The tests of migration build an agent and programs with them, and upgrade to those. Why they
//! are here: docs/decisions/0006-agent-structure.md.

use bytemuck::{Pod, Zeroable};

use crate::Address;
use crate::view::OWN_CELLS;

/// See `backend.rs`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Backend {
    pub service_port: u32,
    pub port: u16,
    pub more_weight: u16,
    pub address: Address,
    pub state: u64,
    pub active: u64,
    pub failures: u64,
    pub ejected_until: u64,
    pub connections: u64,
}

/// See `view.rs`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct View {
    pub affinity_seconds: u32,
    pub service_port: u32,
    pub member: u32,
    pub algorithm: u32,
    pub flags: u32,
    pub zero: u32,
    pub slots: u64,
    pub cells: [u64; OWN_CELLS],
}

/// See `affinity.rs`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct AffinityKey {
    pub service_port: u32,
    pub zero: u32,
    pub client: u64,
}
