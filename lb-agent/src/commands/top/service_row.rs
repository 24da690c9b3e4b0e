//! A Service in the table of all Services.

use std::cmp::Ordering;
use std::time::Duration;

use super::super::rates::per_second;
use super::super::round_trips::milliseconds;
use super::row::{Column, Row, by_number, tenths};
use crate::serve::ServiceStatus;

#[derive(Clone, Debug, Default)]
pub(super) struct ServiceRow {
    pub service: ServiceStatus,
    pub rates: ServiceRates,
}

/// What was counted of a Service since the last answer. Rates are per second.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ServiceRates {
    pub connections: Option<f64>,
    pub refused: Option<f64>,
    pub failed: Option<f64>,
    /// The median of the round-trip times, in µs.
    pub round_trip_p50: Option<f64>,
    pub round_trip_p99: Option<f64>,
}

impl ServiceRates {
    /// `passed`: the time between both answers.
    fn new(before: &ServiceStatus, now: &ServiceStatus, passed: Duration) -> Self {
        let rate =
            |counter: fn(&ServiceStatus) -> u64| per_second(counter(before), counter(now), passed);
        let times = now.round_trips.as_ref();
        let times = times.map(|times| times.since(before.round_trips.as_ref()));
        let quantile = |part| times.as_ref().and_then(|times| times.quantile(part));
        Self {
            connections: rate(|service| service.connections_since_start),
            refused: rate(|service| service.refused),
            failed: rate(|service| service.failed),
            round_trip_p50: quantile(0.50),
            round_trip_p99: quantile(0.99),
        }
    }

    fn errors(self) -> Option<f64> {
        Some(self.refused? + self.failed?)
    }
}

/// Makes the rows of an answer.
///
/// `before`: the rows of the last one. Both are sorted by namespace and name. `passed`: the time between both.
pub(super) fn service_rows(
    before: &[ServiceRow],
    services: Vec<ServiceStatus>,
    passed: Option<Duration>,
) -> Vec<ServiceRow> {
    let mut before = before.iter().map(|row| &row.service).peekable();
    let rows = services.into_iter().map(|service| {
        while before
            .next_if(|last| by_name(last, &service).is_lt())
            .is_some()
        {}
        let last = before.next_if(|last| by_name(last, &service).is_eq());
        let rates = last
            .zip(passed)
            .map(|(last, passed)| ServiceRates::new(last, &service, passed));
        ServiceRow {
            rates: rates.unwrap_or_default(),
            service,
        }
    });
    rows.collect()
}

fn by_name(one: &ServiceStatus, other: &ServiceStatus) -> Ordering {
    (&one.namespace, &one.name).cmp(&(&other.namespace, &other.name))
}

impl Row for ServiceRow {
    const COLUMNS: &'static [Column<Self>] = &[
        Column::<Self>::text(
            "NAMESPACE",
            2,
            |row| row.service.namespace.to_string(),
            |a, b| a.service.namespace.cmp(&b.service.namespace),
        ),
        Column::<Self>::text(
            "NAME",
            3,
            |row| row.service.name.to_string(),
            |a, b| a.service.name.cmp(&b.service.name),
        ),
        Column::<Self>::text(
            "TYPE",
            0,
            |row| row.service.service_type.to_string(),
            |a, b| a.service.service_type.cmp(&b.service.service_type),
        )
        .with_width(12)
        .when_width(140),
        Column::<Self>::number(
            "RATE/S",
            9,
            |row| tenths(row.rates.connections),
            |a, b| by_number(a.rates.connections, b.rates.connections),
        ),
        Column::<Self>::number(
            "ERRORS/S",
            9,
            |row| tenths(row.rates.errors()),
            |a, b| by_number(a.rates.errors(), b.rates.errors()),
        )
        .needs_attention(|row| row.rates.errors() > Some(0.0)),
        Column::<Self>::number(
            "ACTIVE",
            8,
            |row| row.service.active.to_string(),
            |a, b| a.service.active.cmp(&b.service.active),
        ),
        Column::<Self>::number(
            "CONNECTIONS",
            12,
            |row| row.service.connections.to_string(),
            |a, b| a.service.connections.cmp(&b.service.connections),
        )
        .when_width(100),
        Column::<Self>::number(
            "RTT-P50",
            8,
            |row| milliseconds(row.rates.round_trip_p50),
            |a, b| by_number(a.rates.round_trip_p50, b.rates.round_trip_p50),
        )
        .when_width(120),
        Column::<Self>::number(
            "RTT-P99",
            8,
            |row| milliseconds(row.rates.round_trip_p99),
            |a, b| by_number(a.rates.round_trip_p99, b.rates.round_trip_p99),
        )
        .when_width(120),
        Column::<Self>::number(
            "BACKENDS",
            9,
            |row| {
                let backends = row.service.backends;
                format!("{}/{}", backends.used, backends.total)
            },
            |a, b| a.service.backends.used.cmp(&b.service.backends.used),
        )
        .needs_attention(|row| row.service.backends.used == 0),
        Column::<Self>::number(
            "PROBLEMS",
            9,
            |row| row.service.problems.len().to_string(),
            |a, b| a.service.problems.len().cmp(&b.service.problems.len()),
        )
        .needs_attention(|row| !row.service.problems.is_empty()),
    ];

    /// RATE/S.
    const SORTED_BY: usize = 3;

    fn is_same(&self, other: &Self) -> bool {
        by_name(&self.service, &other.service).is_eq()
    }

    fn contains(&self, text: &str) -> bool {
        match text.split_once('/') {
            Some((namespace, name)) => {
                self.service.namespace.ends_with(namespace) && self.service.name.starts_with(name)
            }
            None => self.service.name.contains(text) || self.service.namespace.contains(text),
        }
    }
}
