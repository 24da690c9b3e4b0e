//! The settings of a service port, and the columns for them.

use serde::Serialize;

use crate::catalog::{ObjectName, Protocol};
use crate::policy::{Explainer, ServicePort};

/// The settings of a service port. JSON has the keys of those that it has, and always `affinitySeconds`.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Settings {
    affinity_seconds: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    slow_start_seconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    drain_seconds: Option<u64>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    outlier_detection: bool,
    /// It is there whether connections spill over now or not.
    #[serde(skip_serializing_if = "Option::is_none")]
    spill_over_factor: Option<f64>,
}

/// A column: its name, and the setting in it.
pub(super) type Column = (&'static str, fn(&Settings) -> Option<String>);

const COLUMNS: [Column; 5] = [
    ("AFFINITY", |of| of.affinity_seconds.map(seconds)),
    ("SLOW-START", |of| of.slow_start_seconds.map(seconds)),
    ("DRAIN", |of| of.drain_seconds.map(seconds)),
    ("OUTLIERS", |of| {
        of.outlier_detection.then(|| "ejected".to_owned())
    }),
    ("SPILL-OVER", |of| {
        of.spill_over_factor.map(|factor| factor.to_string())
    }),
];

impl Settings {
    pub(super) fn of(port: &ServicePort, explainer: &Explainer<'_>) -> Self {
        let key = &port.key;
        let of_service = explainer.settings(&ObjectName {
            namespace: key.namespace.clone(),
            name: key.name.clone(),
        });
        Self {
            affinity_seconds: port.affinity_seconds,
            slow_start_seconds: port.slow_start.map(|takes| takes.as_secs()),
            drain_seconds: port.drain.map(|takes| takes.as_secs()),
            outlier_detection: of_service.detects_outliers && key.protocol == Protocol::Tcp,
            // At most 10,000, so the number is exact.
            spill_over_factor: of_service
                .spill_over
                .map(|thousandths| thousandths as f64 / 1_000.0),
        }
    }
}

/// The columns of the settings that any of the service ports has.
pub(super) fn columns(all: &[Settings]) -> Vec<Column> {
    let is_used = |(_, cell): &Column| all.iter().any(|of| cell(of).is_some());
    COLUMNS.into_iter().filter(is_used).collect()
}

fn seconds(number: impl std::fmt::Display) -> String {
    format!("{number}s")
}
