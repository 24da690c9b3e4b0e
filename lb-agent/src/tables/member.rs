//! The backends that a service port has in BACKENDS.

use std::net::SocketAddr;

use super::Role;
use crate::policy::{Backend, Scope};

/// One backend of one service port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    pub address: SocketAddr,
    pub id: u32,
    /// Bits of [`lb_common::backend::state`].
    pub state: u64,
}

impl Role {
    pub const fn of(scope: Scope) -> Self {
        match scope {
            Scope::All | Scope::Internal => Self::Internal,
            Scope::External => Self::External,
        }
    }
}

/// The slots of a view: each backend as often as it weighs.
///
/// `members` has all of `backends` and is sorted by address.
pub fn slots(backends: &[&Backend], members: &[Member]) -> Vec<u32> {
    let mut slots = Vec::with_capacity(backends.len());
    for backend in backends {
        if let Some(member) = find(members, backend.address) {
            let weight = usize::from(backend.weight.max(1));
            slots.extend(std::iter::repeat_n(member.id, weight));
        }
    }
    slots
}

/// The member with an address; the first, should there be several.
pub fn find(members: &[Member], address: SocketAddr) -> Option<&Member> {
    let first = members.partition_point(|member| member.address < address);
    members
        .get(first)
        .filter(|member| member.address == address)
}
