//! One step of a plan.

use std::net::SocketAddr;

use lb_common::{Address, FrontendKey};

use super::super::backing::{SourcePrefix, Table};
use super::super::model::{HeldBackend, HeldFrontend, HeldView};
use crate::policy::ServicePortKey;

/// Steps in the order in which they are done.
pub type Plan = Vec<Step>;

/// A single store, or a note in the model of what the stores before it have brought about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A 64-bit word of an array.
    Store {
        table: Table,
        index: u32,
        word: usize,
        value: u64,
    },
    /// An element of FRONTENDS. If it cannot be written, a new id is free again.
    PutFrontend(FrontendKey, HeldFrontend),
    /// An element of FRONTENDS: one of [`lb_common::frontend::guard`].
    PutGuard(Address, u32),
    /// An element of FRONTENDS goes. The frontend's id is quarantined.
    Remove(FrontendKey),
    /// An element of SOURCE_RANGES.
    PutSourceRange(SourcePrefix),
    /// An element of SOURCE_RANGES goes.
    RemoveSourceRange(SourcePrefix),
    /// Elements of the NAT maps: backends' ids and addresses.
    PutNat(Vec<(u32, SocketAddr)>),
    /// Elements of the NAT maps go.
    RemoveNat(Vec<u32>),
    /// No store.
    Record(Record),
}

/// A change of the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A service port has this id.
    Port {
        key: ServicePortKey,
        id: u32,
        /// IPPROTO_TCP or IPPROTO_UDP.
        protocol: u8,
    },
    /// A service port has these backends, sorted by address.
    Backends {
        port: u32,
        backends: Vec<HeldBackend>,
    },
    /// A service port has this view. The run that the view had before is quarantined.
    View { port: u32, view: HeldView },
    /// The views of a service port that no frontend names are quarantined.
    RetireUnnamedViews { port: u32 },
    /// A backend of a service port has stopped serving, and its id is quarantined.
    RetireBackend { port: u32, id: u32 },
    /// A service port has nothing in the tables any more.
    Forget { port: u32 },
}

impl Step {
    /// The name of the table that it stores to; none for a note.
    #[must_use]
    pub const fn table(&self) -> Option<&'static str> {
        match self {
            Self::Store { table, .. } => Some(table.name()),
            Self::PutFrontend(..) | Self::PutGuard(..) | Self::Remove(_) => Some("FRONTENDS"),
            Self::PutSourceRange(_) | Self::RemoveSourceRange(_) => Some("SOURCE_RANGES"),
            Self::PutNat(_) | Self::RemoveNat(_) => Some("NAT"),
            Self::Record(_) => None,
        }
    }
}
