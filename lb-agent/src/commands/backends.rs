//! `lb-agent backends`: the connections of each backend, by the kernel's own counters.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::listing::{self, Column, Listed, Listing};
use super::rates::Rates;
use super::runtime::block_on;
use super::table;
use crate::serve::{self, BackendStatus};

/// The time for which the first rates are measured.
const MEASURED_FOR: Duration = Duration::from_secs(1);

/// Lists the backends of the agent.
///
/// # Errors
/// No agent listens there, or stdout cannot be written.
pub fn backends(listing: &Listing) -> anyhow::Result<()> {
    let path = listing.selection.of(serve::BACKENDS);
    let ask = async || -> anyhow::Result<_> {
        let backends: Vec<BackendStatus> = serve::fetch(&listing.socket, &path).await?;
        Ok((backends, Instant::now()))
    };
    block_on(async {
        let mut rates = Rates::default();
        listing::list(listing, async || {
            let (mut backends, mut answered) = ask().await?;
            if !rates.has_counters() && !backends.is_empty() {
                with_rates(&mut rates, backends, answered);
                tokio::time::sleep(MEASURED_FOR).await;
                (backends, answered) = ask().await?;
            }
            Ok(with_rates(&mut rates, backends, answered))
        })
        .await
    })
}

/// A backend with its rate.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RatedBackend {
    #[serde(flatten)]
    pub backend: BackendStatus,
    /// Connections sent to it since the answer before, rounded to tenths; none if it was not in that answer.
    pub connections_per_second: Option<f64>,
}

/// Namespace, name, port, protocol and address.
pub(super) type BackendKey = [String; 5];

fn with_rates(
    rates: &mut Rates<BackendKey>,
    backends: Vec<BackendStatus>,
    answered: Instant,
) -> Vec<RatedBackend> {
    let counters = backends
        .iter()
        .map(|backend| (key(backend), backend.connections));
    let rates = rates.since_last(answered, counters);
    let rated = backends.into_iter().zip(rates);
    rated
        .map(|(backend, connections_per_second)| RatedBackend {
            backend,
            connections_per_second,
        })
        .collect()
}

impl Listed for RatedBackend {
    const KIND: &'static str = "backends";

    const COLUMNS: &'static [Column<Self>] = &[
        Column::new("NAMESPACE", |of| of.backend.namespace.clone()),
        Column::new("NAME", |of| of.backend.name.clone()),
        Column::new("PORT", |of| table::port_name(&of.backend.port).to_owned()),
        Column::new("PROTOCOL", |of| of.backend.protocol.clone()),
        Column::new("BACKEND", |of| of.backend.address.clone()),
        Column::new("USED", |of| used(&of.backend).to_owned()),
        Column::new("RATE/S", |of| rate(of.connections_per_second)),
        Column::new("CONNECTIONS", |of| of.backend.connections.to_string()),
        Column::new("ACTIVE", |of| of.backend.active.to_string()),
        Column::wide("WEIGHT", |of| weight(&of.backend)),
        Column::wide("FAILURES", |of| of.backend.failures.to_string()),
        Column::wide("SERVING", |of| table::yes_or_no(of.backend.serving)),
        Column::wide("NODE", |of| table::or_none(of.backend.node.as_deref())),
        Column::wide("ZONE", |of| table::or_none(of.backend.zone.as_deref())),
        Column::wide("FAMILY", |of| of.backend.family.clone()),
        Column::wide("ID", |of| of.backend.id.to_string()),
    ];

    type Key = BackendKey;

    fn key(&self) -> Self::Key {
        key(&self.backend)
    }
}

pub(super) fn key(backend: &BackendStatus) -> BackendKey {
    [
        backend.namespace.clone(),
        backend.name.clone(),
        backend.port.clone(),
        backend.protocol.clone(),
        backend.address.clone(),
    ]
}

/// The frontends that offer a backend.
pub(super) const fn used(backend: &BackendStatus) -> &'static str {
    if backend.ejected {
        return "ejected";
    }
    match (backend.internal, backend.external) {
        (true, true) if backend.spill_over => "spill-over",
        (true, true) => "yes",
        (true, false) => "internal",
        (false, true) => "external",
        (false, false) => "no",
    }
}

/// With the part of it that counts, while the backend starts slowly.
fn weight(backend: &BackendStatus) -> String {
    match backend.weight_percent {
        100 => backend.weight.to_string(),
        percent => format!("{} ({percent}%)", backend.weight),
    }
}

fn rate(per_second: Option<f64>) -> String {
    per_second.map_or_else(|| "<unknown>".to_owned(), |rate| format!("{rate:.1}"))
}
