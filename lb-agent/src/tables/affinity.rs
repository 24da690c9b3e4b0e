//! The backends that clients have by session affinity.

use std::io;
use std::net::SocketAddr;

use lb_common::affinity::Affinity;

use super::backing::{Backing, Table};
use super::encode;
use super::model::{Model, load_backend};
use crate::policy::ServicePortKey;

/// The backend that a client has by session affinity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAffinity {
    pub affinity: Affinity,
    /// None: the backend is no longer one of the service port's.
    pub address: Option<SocketAddr>,
}

/// The backend of a client, as AFFINITY has it.
pub(super) fn affinity(
    backing: &impl Backing,
    model: &Model,
    port: &ServicePortKey,
    client: u64,
) -> io::Result<Option<ClientAffinity>> {
    let Some(&service_port) = model.ids.get(port) else {
        return Ok(None);
    };
    let Some(affinity) = backing.affinity(client, service_port)? else {
        return Ok(None);
    };
    let exists = affinity.backend < backing.length(Table::Backends);
    let line = exists.then(|| load_backend(backing, affinity.backend));
    let line = line.filter(|line| line.service_port == service_port && line.state != 0);
    Ok(Some(ClientAffinity {
        affinity,
        address: line.map(|line| encode::socket_address(line.address, line.port)),
    }))
}
