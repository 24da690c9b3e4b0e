//! A backend in the table of one Service's backends.

use std::collections::HashMap;
use std::time::Instant;

use super::super::backends::{BackendKey, key, used};
use super::super::rates::Rates;
use super::super::table;
use super::row::{Column, Row, by_number, tenths};
use crate::serve::BackendStatus;

/// The length of the bar of a backend that gets all connections.
const BAR: f64 = 8.0;

#[derive(Clone, Debug)]
pub(super) struct BackendRow {
    pub backend: BackendStatus,
    /// New connections per second.
    pub rate: Option<f64>,
    /// Its part of the rate of its service port, in percent; none while that is 0.
    pub share: Option<f64>,
}

/// Makes the rows of an answer.
pub(super) fn backend_rows(
    rates: &mut Rates<BackendKey>,
    answered: Instant,
    backends: Vec<BackendStatus>,
) -> Vec<BackendRow> {
    let counters = backends
        .iter()
        .map(|backend| (key(backend), backend.connections));
    let rates = rates.since_last(answered, counters);
    let mut of_port: HashMap<_, f64> = HashMap::new();
    for (backend, rate) in backends.iter().zip(&rates) {
        *of_port.entry(port(backend)).or_default() += rate.unwrap_or_default();
    }
    let shares = backends.iter().zip(&rates).map(|(backend, rate)| {
        let whole = of_port.get(&port(backend)).filter(|whole| **whole > 0.0)?;
        Some(rate.as_ref()? / whole * 100.0)
    });
    let shares: Vec<Option<f64>> = shares.collect();
    let rated = backends.into_iter().zip(rates).zip(shares);
    rated
        .map(|((backend, rate), share)| BackendRow {
            backend,
            rate,
            share,
        })
        .collect()
}

/// The service port of a Service's backend.
fn port(backend: &BackendStatus) -> (&str, &str, &str) {
    (&backend.port, &backend.protocol, &backend.family)
}

fn share(share: Option<f64>) -> String {
    let Some(share) = share else {
        return String::new();
    };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share is 0 to 100"
    )]
    let full = (BAR * share / 100.0).round() as usize;
    format!("{} {share:>3.0} %", "█".repeat(full))
}

impl Row for BackendRow {
    const COLUMNS: &'static [Column<Self>] = &[
        Column::<Self>::text(
            "PORT",
            2,
            |row| {
                let port = table::port_name(&row.backend.port);
                format!("{port}/{}", row.backend.protocol)
            },
            |a, b| port(&a.backend).cmp(&port(&b.backend)),
        ),
        Column::<Self>::text(
            "BACKEND",
            3,
            |row| row.backend.address.clone(),
            |a, b| a.backend.address.cmp(&b.backend.address),
        ),
        Column::<Self>::text(
            "NODE",
            2,
            |row| row.backend.node.as_deref().unwrap_or_default().to_owned(),
            |a, b| a.backend.node.cmp(&b.backend.node),
        )
        .when_width(100),
        Column::<Self>::text(
            "ZONE",
            1,
            |row| row.backend.zone.as_deref().unwrap_or_default().to_owned(),
            |a, b| a.backend.zone.cmp(&b.backend.zone),
        )
        .when_width(130),
        Column::<Self>::text(
            "USED",
            0,
            |row| used(&row.backend).to_owned(),
            |a, b| used(&a.backend).cmp(used(&b.backend)),
        )
        .with_width(8)
        .needs_attention(|row| {
            row.backend.ejected || !row.backend.internal && !row.backend.external
        }),
        Column::<Self>::number(
            "SHARE",
            14,
            |row| share(row.share),
            |a, b| by_number(a.share, b.share),
        ),
        Column::<Self>::number(
            "RATE/S",
            9,
            |row| tenths(row.rate),
            |a, b| by_number(a.rate, b.rate),
        ),
        Column::<Self>::number(
            "ACTIVE",
            8,
            |row| row.backend.active.to_string(),
            |a, b| a.backend.active.cmp(&b.backend.active),
        ),
        Column::<Self>::number(
            "FAILURES",
            9,
            |row| row.backend.failures.to_string(),
            |a, b| a.backend.failures.cmp(&b.backend.failures),
        )
        .when_width(110)
        .needs_attention(|row| row.backend.failures > 0),
        Column::<Self>::number(
            "CONNECTIONS",
            12,
            |row| row.backend.connections.to_string(),
            |a, b| a.backend.connections.cmp(&b.backend.connections),
        )
        .when_width(90),
    ];

    /// PORT: the rows of a port stay in the order of the answer.
    const SORTED_BY: usize = 0;

    fn is_same(&self, other: &Self) -> bool {
        key(&self.backend) == key(&other.backend)
    }

    fn contains(&self, text: &str) -> bool {
        let BackendStatus {
            address,
            port,
            node,
            zone,
            ..
        } = &self.backend;
        let has = |of: &Option<String>| of.as_ref().is_some_and(|of| of.contains(text));
        address.contains(text) || port.contains(text) || has(node) || has(zone)
    }
}
