//! A Service in the table of all Services.

use super::row::{Column, Row, by_number, tenths};
use crate::serve::ServiceStatus;

#[derive(Clone, Debug, Default)]
pub(super) struct ServiceRow {
    pub service: ServiceStatus,
    /// New connections per second.
    pub rate: Option<f64>,
}

impl Row for ServiceRow {
    const COLUMNS: &'static [Column<Self>] = &[
        Column::<Self>::text(
            "NAMESPACE",
            2,
            |row| row.service.namespace.clone(),
            |a, b| a.service.namespace.cmp(&b.service.namespace),
        ),
        Column::<Self>::text(
            "NAME",
            3,
            |row| row.service.name.clone(),
            |a, b| a.service.name.cmp(&b.service.name),
        ),
        Column::<Self>::text(
            "TYPE",
            0,
            |row| row.service.service_type.clone(),
            |a, b| a.service.service_type.cmp(&b.service.service_type),
        )
        .with_width(12)
        .when_width(110),
        Column::<Self>::number(
            "RATE/S",
            9,
            |row| tenths(row.rate),
            |a, b| by_number(a.rate, b.rate),
        ),
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
        .when_width(90),
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
        (&self.service.name, &self.service.namespace)
            == (&other.service.name, &other.service.namespace)
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
