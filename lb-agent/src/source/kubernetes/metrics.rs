//! Metrics of how fresh each watched kind is.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::health::KindHealth;
use crate::catalog::Kind;
use crate::metrics::{set_bool, set_total, timestamp};

/// Metrics of the watches of an API server.
#[derive(Debug, Default)]
pub struct WatchMetrics {
    listed: Family<KindLabel, Gauge>,
    lists: Family<KindLabel, Counter>,
    errors: Family<KindLabel, Counter>,
    trouble: Family<KindLabel, Gauge>,
    last_data: Family<KindLabel, Gauge<f64, AtomicU64>>,
    event: Family<KindLabel, Gauge<f64, AtomicU64>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: String,
}

impl WatchMetrics {
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "source_listed",
            "1 if all objects of a kind were listed once",
            self.listed.clone(),
        );
        registry.register(
            "source_lists",
            "Lists of all objects of a kind",
            self.lists.clone(),
        );
        registry.register(
            "source_errors",
            "Errors while listing or watching a kind",
            self.errors.clone(),
        );
        registry.register(
            "source_in_trouble",
            "1 while no changes of a kind arrive from the API server",
            self.trouble.clone(),
        );
        registry.register_with_unit(
            "source_heard_timestamp",
            "Time at which the API server last sent anything about a kind, bookmarks included, since 1970",
            Unit::Seconds,
            self.last_data.clone(),
        );
        registry.register_with_unit(
            "source_event_timestamp",
            "Time at which the API server last sent an object of a kind, since 1970",
            Unit::Seconds,
            self.event.clone(),
        );
    }

    pub fn update<'a>(&self, kinds: impl IntoIterator<Item = (&'a Kind, &'a KindHealth)>) {
        for (kind, health) in kinds {
            let label = KindLabel {
                kind: kind.to_string(),
            };
            set_bool(&self.listed.get_or_create(&label), health.has_listed);
            set_total(&self.lists.get_or_create(&label), health.lists);
            set_total(&self.errors.get_or_create(&label), health.errors);
            set_bool(
                &self.trouble.get_or_create(&label),
                health.trouble.is_some(),
            );
            for (times, at) in [
                (&self.last_data, health.last_data),
                (&self.event, health.event),
            ] {
                if let Some(at) = at {
                    times.get_or_create(&label).set(timestamp(at));
                }
            }
        }
    }
}
