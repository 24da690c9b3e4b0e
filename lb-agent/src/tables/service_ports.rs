//! What the programs have counted of each service port.

use std::collections::HashMap;
use std::net::SocketAddr;

use lb_common::Backend as BackendLine;
use lb_common::backend::state;

use super::backing::{ReadTables, Table};
use super::encode::socket_address;
use super::entries;
use super::model::{HeldPort, Model};
use crate::policy::ServicePortKey;

/// A service port and what was counted of all its backends.
#[derive(Clone, Debug)]
pub struct ServicePortCounts<'a> {
    pub key: &'a ServicePortKey,
    pub id: u32,
    /// Connections and flows since this agent started, those to backends that are gone included. Never decreases. May lack those
    /// that chose a backend in the moment in which it stopped serving.
    pub connections: u64,
    /// As `connections`, only those to its present backends, since each was added.
    pub present_connections: u64,
    /// Sockets that are connected to its present backends.
    pub active: u64,
    pub backends: usize,
    /// The backends that a frontend offers.
    pub used_backends: usize,
    /// The backends that keep their UDP flows, used or not.
    pub serving_backends: usize,
    pub frontends: usize,
}

/// The service ports that were asked for, in no order.
pub fn counts<'a>(
    backing: &'a impl ReadTables,
    model: &'a Model,
) -> impl Iterator<Item = ServicePortCounts<'a>> {
    ports(model).map(move |(key, id, port)| counts_of_port(backing, model, key, id, port))
}

/// One of the service ports that were asked for.
pub fn counts_of<'a>(
    backing: &impl ReadTables,
    model: &'a Model,
    key: &ServicePortKey,
) -> Option<ServicePortCounts<'a>> {
    let (key, id) = model.ids.get_key_value(key)?;
    let port = model.ports.get(id)?;
    Some(counts_of_port(backing, model, key, *id, port))
}

fn counts_of_port<'a>(
    backing: &impl ReadTables,
    model: &Model,
    key: &'a ServicePortKey,
    id: u32,
    port: &HeldPort,
) -> ServicePortCounts<'a> {
    let ended = model.ended.get(&id).copied().unwrap_or_default();
    let present = sum(backing, port);
    let backends = port.backends.iter();
    let in_state = |bits| {
        let of = port.backends.iter();
        of.filter(|held| held.state & bits != 0).count()
    };
    ServicePortCounts {
        key,
        id,
        connections: present.wrapping_add(ended),
        present_connections: present,
        active: backends.map(|held| entries::active(backing, held.id)).sum(),
        backends: port.backends.len(),
        used_backends: in_state(state::INTERNAL | state::EXTERNAL | state::OUTSIDE),
        serving_backends: in_state(state::SERVING),
        frontends: port.frontends.len(),
    }
}

/// What an earlier agent's tables have counted, negated, by service port id: see [`Model::ended`].
pub fn counted_before(backing: &impl ReadTables, model: &Model) -> HashMap<u32, u64> {
    let ports = model.ports.iter();
    ports
        .map(|(id, port)| (*id, sum(backing, port).wrapping_neg()))
        .filter(|(_, before)| *before != 0)
        .collect()
}

fn ports(model: &Model) -> impl Iterator<Item = (&ServicePortKey, u32, &HeldPort)> {
    let ids = model.ids.iter();
    ids.filter_map(|(key, id)| Some((key, *id, model.ports.get(id)?)))
}

fn sum(backing: &impl ReadTables, port: &HeldPort) -> u64 {
    let of = port.backends.iter();
    of.map(|held| connections(backing, held.id))
        .fold(0, u64::wrapping_add)
}

fn connections(backing: &impl ReadTables, id: u32) -> u64 {
    backing.load(Table::Backends, id, BackendLine::CONNECTIONS_WORD)
}

/// The address in a line of BACKENDS; none if the table has no such line.
pub fn backend_address(backing: &impl ReadTables, id: u32) -> Option<SocketAddr> {
    if id >= backing.length(Table::Backends) {
        return None;
    }
    let mut line = BackendLine::default();
    let words: &mut [u64; BackendLine::WORDS] = bytemuck::must_cast_mut(&mut line);
    for (index, word) in words.iter_mut().enumerate() {
        *word = backing.load(Table::Backends, id, index);
    }
    Some(socket_address(line.address, line.port))
}
