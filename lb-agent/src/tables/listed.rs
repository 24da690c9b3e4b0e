//! What the tables contain of the service ports that were asked for.

use std::net::SocketAddr;

use lb_common::Backend as BackendLine;
use lb_common::backend::state;

use super::backing::{ReadTables, Table};
use super::model::{HeldBackend, HeldFrontend, HeldPort, Model};
use super::{ejection, encode, entries};
use crate::policy::{FrontendKind, Scope, ServicePortKey};

/// A backend and its counters.
#[derive(Clone, Debug)]
pub struct BackendCounters<'a> {
    pub port: &'a ServicePortKey,
    pub address: SocketAddr,
    pub id: u32,
    /// Bits of [`lb_common::backend::state`].
    pub state: u64,
    /// At least 1.
    pub weight: u16,
    pub connections: u64,
    pub active: u64,
    /// Connects that failed in a row. Counted only with outlier detection.
    pub failures: u32,
    /// See [`lb_common::outlier::TRIAL`]; 0: it is not ejected.
    pub ejected_until: u64,
}

/// An element of FRONTENDS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListedFrontend {
    pub address: SocketAddr,
    /// Its id in FRONTEND_LIST.
    pub id: u32,
    pub kind: FrontendKind,
    /// The frontends that offer the same backends to sockets.
    pub scope: Scope,
    /// The number of backends that it offers to sockets.
    pub backends: usize,
    /// The number of backends that it offers to packets from outside, if that is another view.
    pub outside_backends: Option<usize>,
}

/// The backends of a service port, sorted by address.
pub(super) fn backends_of<'a>(
    backing: &'a impl ReadTables,
    model: &'a Model,
    port: &'a ServicePortKey,
) -> impl Iterator<Item = BackendCounters<'a>> {
    let held = model.port(port).into_iter();
    let held = held.flat_map(|held| &held.backends);
    held.map(move |held| BackendCounters {
        port,
        address: held.address,
        id: held.id,
        state: held.state,
        weight: held.weight,
        connections: backing.load(Table::Backends, held.id, BackendLine::CONNECTIONS_WORD),
        active: entries::active(backing, held.id),
        failures: ejection::failures(backing, held.id),
        ejected_until: ejection::ejected_until(backing, held.id),
    })
}

/// The frontends of a service port, in no order.
pub(super) fn frontends_of(
    model: &Model,
    port: &ServicePortKey,
) -> impl Iterator<Item = ListedFrontend> {
    let held = model.port(port).into_iter();
    held.flat_map(move |port| {
        port.frontends.iter().filter_map(move |key| {
            let held = model.frontends.get(key)?;
            listed(port, held, encode::socket_address(key.address, key.port))
        })
    })
}

/// None if an earlier agent left a kind that this one does not know.
fn listed(port: &HeldPort, held: &HeldFrontend, address: SocketAddr) -> Option<ListedFrontend> {
    let kind = encode::kind_of(held.kind)?;
    let is_in = |backend: &HeldBackend, bit| backend.state & bit != 0;
    let differ =
        |backend: &HeldBackend| is_in(backend, state::INTERNAL) != is_in(backend, state::EXTERNAL);
    let members = |view: u32| {
        let member = port.view_at(view).map_or(0, |view| u64::from(view.member));
        let backends = port.backends.iter();
        backends.filter(|backend| is_in(backend, member)).count()
    };
    Some(ListedFrontend {
        address,
        id: held.id,
        kind,
        scope: match kind {
            _ if !port.backends.iter().any(differ) => Scope::All,
            FrontendKind::ClusterIp => Scope::Internal,
            _ => Scope::External,
        },
        backends: members(held.view),
        outside_backends: (held.outside_view != 0).then(|| members(held.outside_view)),
    })
}
