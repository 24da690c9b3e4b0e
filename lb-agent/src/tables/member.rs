//! The backends that a service port has in BACKENDS.

use std::net::SocketAddr;

use lb_common::backend::state;
use lb_common::view::algorithm::MAGLEV;

use super::{Role, maglev};
use crate::policy::Scope;

/// One backend of one service port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    pub address: SocketAddr,
    pub id: u32,
    /// Bits of [`lb_common::backend::state`].
    pub state: u64,
    /// How many slots it gets.
    pub weight: u16,
}

impl Role {
    pub const fn of(scope: Scope) -> Self {
        match scope {
            Scope::All | Scope::Internal => Self::Internal,
            Scope::External => Self::External,
        }
    }

    /// The bit of [`lb_common::backend::state`] that its backends have.
    pub const fn bit(self) -> u64 {
        match self {
            Self::Internal => state::INTERNAL,
            Self::External => state::EXTERNAL,
        }
    }
}

/// The slots of a view.
///
/// `algorithm`: one of [`lb_common::view::algorithm`]. `of`: the view's backends, sorted by address. `length`: how many slots
/// it has now.
pub fn slots(algorithm: u32, of: &[&Member], length: u32) -> Vec<u32> {
    if algorithm == MAGLEV {
        return maglev::slots(of, length);
    }
    let mut slots = Vec::with_capacity(of.len());
    for member in of {
        let weight = usize::from(member.weight.max(1));
        slots.extend(std::iter::repeat_n(member.id, weight));
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
