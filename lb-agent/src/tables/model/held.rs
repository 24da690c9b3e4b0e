//! Rows of the tables: what they contain of one service port, one view, one frontend, one backend.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use lb_common::frontend::kind;
use lb_common::{FrontendKey, FrontendValue, SlotRun, Target};

use super::super::backing::SourcePrefix;
use super::super::role::Role;

/// A service port's rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeldPort {
    /// IPPROTO_TCP or IPPROTO_UDP.
    pub protocol: u8,
    pub views: Vec<HeldView>,
    /// Sorted by address.
    pub backends: Vec<HeldBackend>,
    /// The keys of [`super::Model::frontends`] that it owns.
    pub frontends: Vec<FrontendKey>,
    pub source_ranges: BTreeSet<SourcePrefix>,
}

impl HeldPort {
    #[must_use]
    pub fn view(&self, role: Role) -> Option<&HeldView> {
        self.views.iter().find(|view| view.role == role)
    }

    #[must_use]
    pub fn view_at(&self, index: u32) -> Option<&HeldView> {
        self.views.iter().find(|view| view.index == index)
    }

    /// Releases spare capacity: there may be very many service ports.
    pub fn shrink(&mut self) {
        self.views.shrink_to_fit();
        self.backends.shrink_to_fit();
        self.frontends.shrink_to_fit();
    }
}

/// An element of VIEWS with its run of slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldView {
    pub index: u32,
    pub run: SlotRun,
    pub role: Role,
    /// One of [`lb_common::view::algorithm`].
    pub algorithm: u32,
    /// 0: no affinity.
    pub affinity_seconds: u32,
    /// The bit of [`lb_common::backend::state`] in its line: the role's, but perhaps another in tables that an earlier agent left.
    pub member: u32,
    /// Bits of [`lb_common::view::flag`].
    pub flags: u32,
    /// Of the run's cells as they were written.
    pub fingerprint: u64,
}

/// An element of FRONTENDS, and its entry of FRONTEND_LIST.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldFrontend {
    pub id: u32,
    /// The index of its view.
    pub view: u32,
    /// Service port id.
    pub owner: u32,
    /// One of [`kind`].
    pub kind: u8,
    pub is_host_only: bool,
    pub has_source_ranges: bool,
    /// The index of the view for packets from outside; 0: none.
    pub outside_view: u32,
}

impl HeldFrontend {
    /// Whether its address has a guard.
    #[must_use]
    pub const fn is_cluster_ip(&self) -> bool {
        self.kind == kind::CLUSTER_IP
    }

    /// Its value in FRONTENDS.
    #[must_use]
    pub const fn value(&self, key: &FrontendKey) -> FrontendValue {
        let target = Target {
            view: self.view,
            frontend: self.id,
            is_host_only: self.is_host_only,
            has_source_ranges: self.has_source_ranges,
        };
        FrontendValue::new(key, target)
    }
}

/// An element of BACKENDS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldBackend {
    /// Port 0: the line belongs to no service port (it was found in the slots of one that its line does not name).
    pub address: SocketAddr,
    pub id: u32,
    /// Bits of [`lb_common::backend::state`].
    pub state: u64,
    /// Its part of the sum of all weights in a view is its part of the view's slots. At least 1.
    pub weight: u16,
}

/// The backend with an address in a sorted list; the first, should there be several.
#[must_use]
pub fn find_backend(backends: &[HeldBackend], address: SocketAddr) -> Option<&HeldBackend> {
    let first = backends.partition_point(|backend| backend.address < address);
    backends
        .get(first)
        .filter(|backend| backend.address == address)
}
