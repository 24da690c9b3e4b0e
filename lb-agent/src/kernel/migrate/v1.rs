//! The layouts of version 1 for the rehearsal of version 2.

use bytemuck::{Pod, Zeroable};
use lb_common::affinity::AffinityKey;
use lb_common::{Address, Backend, View};

use super::layout::Layout;

pub static V1: Layout = Layout {
    version: 1,
    differs: &["BACKENDS", "VIEWS", "AFFINITY"],
    backend: |words| bytemuck::must_cast::<_, BackendV1>(words).into(),
    view: |words| bytemuck::must_cast::<_, ViewV1>(words).into(),
    affinity_key: |words| {
        bytemuck::must_cast(AffinityKey::from(bytemuck::must_cast::<_, KeyV1>(words)))
    },
    counters: [4, 5, 6],
};

#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
struct BackendV1 {
    address: Address,
    service_port: u32,
    port: u16,
    more_weight: u16,
    state: u64,
    connections: u64,
    active: u64,
    failures: u64,
    ejected_until: u64,
}

impl From<BackendV1> for Backend {
    fn from(old: BackendV1) -> Self {
        Self {
            address: old.address,
            service_port: old.service_port,
            port: old.port,
            more_weight: old.more_weight,
            state: old.state,
            connections: old.connections,
            active: old.active,
            failures: old.failures,
            ejected_until: old.ejected_until,
        }
    }
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
struct ViewV1 {
    slots: u64,
    service_port: u32,
    affinity_seconds: u32,
    algorithm: u32,
    member: u32,
    flags: u32,
    zero: u32,
    cells: [u64; 4],
}

impl From<ViewV1> for View {
    fn from(old: ViewV1) -> Self {
        Self {
            slots: old.slots,
            service_port: old.service_port,
            affinity_seconds: old.affinity_seconds,
            algorithm: old.algorithm,
            member: old.member,
            flags: old.flags,
            zero: old.zero,
            cells: old.cells,
        }
    }
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
struct KeyV1 {
    client: u64,
    service_port: u32,
    zero: u32,
}

impl From<KeyV1> for AffinityKey {
    fn from(old: KeyV1) -> Self {
        Self {
            client: old.client,
            service_port: old.service_port,
            zero: old.zero,
        }
    }
}
