//! `lb-agent backends`: the connections of each backend, by the kernel's own counters.

use super::listing::{self, Column, Listed, Listing};
use super::runtime::block_on;
use super::table;
use crate::serve::{self, BackendStatus};

/// Lists the backends of the agent.
///
/// # Errors
/// No agent listens there, or stdout cannot be written.
pub fn backends(listing: &Listing) -> anyhow::Result<()> {
    let path = listing.selection.of(serve::BACKENDS);
    block_on(listing::list(listing, async || {
        let backends: Vec<BackendStatus> = serve::fetch(&listing.socket, &path).await?;
        Ok(backends)
    }))
}

impl Listed for BackendStatus {
    const KIND: &'static str = "backends";

    const COLUMNS: &'static [Column<Self>] = &[
        Column::new("NAMESPACE", |backend| backend.namespace.clone()),
        Column::new("NAME", |backend| backend.name.clone()),
        Column::new("PORT", |backend| table::port_name(&backend.port).to_owned()),
        Column::new("PROTOCOL", |backend| backend.protocol.clone()),
        Column::new("BACKEND", |backend| backend.address.clone()),
        Column::new("USED", |backend| used(backend).to_owned()),
        Column::new("CONNECTIONS", |backend| backend.connections.to_string()),
        Column::new("ACTIVE", |backend| backend.active.to_string()),
        Column::wide("SERVING", |backend| table::yes_or_no(backend.serving)),
        Column::wide("NODE", |backend| table::or_none(backend.node.as_deref())),
        Column::wide("ZONE", |backend| table::or_none(backend.zone.as_deref())),
        Column::wide("FAMILY", |backend| backend.family.clone()),
        Column::wide("ID", |backend| backend.id.to_string()),
    ];

    /// Namespace, name, port, protocol and address.
    type Key = [String; 5];

    fn key(&self) -> Self::Key {
        [
            self.namespace.clone(),
            self.name.clone(),
            self.port.clone(),
            self.protocol.clone(),
            self.address.clone(),
        ]
    }
}

/// The frontends that offer a backend.
const fn used(backend: &BackendStatus) -> &'static str {
    match (backend.internal, backend.external) {
        (true, true) => "yes",
        (true, false) => "internal",
        (false, true) => "external",
        (false, false) => "no",
    }
}
