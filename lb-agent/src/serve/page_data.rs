//! What the status page shows.

use std::cmp::Reverse;
use std::sync::Arc;

use serde::Serialize;

use super::api::Status;
use super::events::EventRecord;

/// The most Services in an answer.
const MOST_SERVICES: usize = 500;

/// The answer to the page's script.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PageData {
    pub status: Status,
    /// Those with refused or failed connections first, then those with the most open connections.
    pub services: Vec<PageService>,
    /// The number of all, shown or not.
    pub service_count: usize,
    /// The latest events, the oldest first.
    pub events: Vec<Arc<EventRecord>>,
}

/// A port of a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PageService {
    pub namespace: Arc<str>,
    pub name: Arc<str>,
    /// Its name; "" if it has none.
    pub port: Arc<str>,
    pub protocol: &'static str,
    pub backends: usize,
    /// Since the agent started.
    pub connections: u64,
    pub active: u64,
    pub refused: u64,
    pub failed: u64,
    /// The mean of the smoothed round-trip times; none if none was measured.
    pub rtt_micros: Option<u64>,
}

/// Selects the Services to show, and returns their number before.
#[must_use]
pub fn page_services(mut all: Vec<PageService>) -> (Vec<PageService>, usize) {
    let count = all.len();
    let rank = |service: &PageService| {
        (
            service.refused + service.failed > 0,
            service.active,
            service.connections,
        )
    };
    // Stable, so that equal ones stay in the order of their names.
    all.sort_by_key(|service| Reverse(rank(service)));
    all.truncate(MOST_SERVICES);
    (all, count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(name: &str, active: u64, failed: u64) -> PageService {
        PageService {
            name: name.into(),
            active,
            failed,
            ..PageService::default()
        }
    }

    #[test]
    fn services_in_trouble_come_first_and_the_list_is_bounded() {
        let mut all = vec![
            service("idle", 0, 0),
            service("busy", 9, 0),
            service("failing", 0, 1),
        ];
        all.extend((0..1_000).map(|number| service(&format!("other-{number:04}"), 0, 0)));
        let (shown, count) = page_services(all);
        assert_eq!((shown.len(), count), (MOST_SERVICES, 1_003));
        let names: Vec<&str> = shown.iter().map(|service| &*service.name).take(4).collect();
        assert_eq!(names, ["failing", "busy", "idle", "other-0000"]);
    }
}
