//! `lb-agent frontends`: the addresses that clients connect to.

use super::listing::{self, Column, Listed, Listing};
use super::runtime::block_on;
use super::table;
use crate::serve::{self, FrontendStatus};

/// Lists the frontends of the agent.
///
/// # Errors
/// No agent listens there, or stdout cannot be written.
pub fn frontends(listing: &Listing) -> anyhow::Result<()> {
    let path = listing.selection.of(serve::FRONTENDS);
    block_on(listing::list(listing, async || {
        let frontends: Vec<FrontendStatus> = serve::fetch(&listing.socket, &path).await?;
        Ok(frontends)
    }))
}

impl Listed for FrontendStatus {
    const KIND: &'static str = "frontends";

    const COLUMNS: &'static [Column<Self>] = &[
        Column::new("NAMESPACE", |frontend| frontend.namespace.clone()),
        Column::new("NAME", |frontend| frontend.name.clone()),
        Column::new("PORT", |frontend| {
            table::port_name(&frontend.port).to_owned()
        }),
        Column::new("PROTOCOL", |frontend| frontend.protocol.clone()),
        Column::new("KIND", |frontend| frontend.kind.clone()),
        Column::new("FRONTEND", |frontend| frontend.address.clone()),
        Column::new("SCOPE", |frontend| frontend.scope.clone()),
        Column::new("BACKENDS", |frontend| frontend.backends.to_string()),
        Column::wide("OUTSIDE", |frontend| {
            table::or_none(
                frontend
                    .outside_backends
                    .map(|number| number.to_string())
                    .as_deref(),
            )
        }),
        Column::wide("FAMILY", |frontend| frontend.family.clone()),
        Column::wide("ID", |frontend| frontend.id.to_string()),
    ];

    /// Protocol and address, which only one frontend has.
    type Key = [String; 2];

    fn key(&self) -> Self::Key {
        [self.protocol.clone(), self.address.clone()]
    }
}
