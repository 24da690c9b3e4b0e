//! When the proxy counts as healthy, and the JSON that says so.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::Serialize;

use super::NodeEligibility;
use crate::catalog::Family;

/// A change that is not in effect after this time makes the proxy unhealthy. kube-proxy: twice its sync period, which is
/// 30 s by default (cmd/kube-proxy/app/server.go).
pub(super) const TIMEOUT: Duration = Duration::from_secs(60);

/// Go's zero time, 0001-01-01T00:00:00Z, in seconds since 1970. kube-proxy writes it for "never".
const NEVER: i64 = -62_135_596_800;

/// A moment on both clocks: the monotonic one for durations, the other one for people.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) instant: Instant,
    pub(super) time: Timestamp,
}

impl Moment {
    pub(super) fn now() -> Self {
        Self {
            instant: Instant::now(),
            time: Timestamp::now(),
        }
    }
}

/// The last report of the main loop.
#[derive(Clone, Debug, Default)]
pub(super) struct ProxyHealth {
    families: BTreeMap<Family, FamilyState>,
    /// When the main loop last ran.
    beat: Option<Instant>,
    /// Packets get no Service. kube-proxy does not run without its rules.
    pub(super) lacks_packets: bool,
    pub(super) node: NodeEligibility,
}

#[derive(Clone, Copy, Debug, Default)]
struct FamilyState {
    updated: Option<Timestamp>,
    /// The arrival of the oldest change that is not in effect.
    queued: Option<Instant>,
}

impl ProxyHealth {
    pub(super) fn queued(&mut self, family: Family, now: Moment) {
        let state = self.families.entry(family).or_default();
        state.queued.get_or_insert(now.instant);
    }

    pub(super) fn updated(&mut self, family: Family, now: Moment) {
        let state = FamilyState {
            updated: Some(now.time),
            queued: None,
        };
        self.families.insert(family, state);
    }

    pub(super) fn beat(&mut self, now: Moment) {
        self.beat = Some(now.instant);
    }

    /// Whether no change has waited too long. The state of the node does not matter.
    pub(super) fn is_healthy(&self, now: Moment) -> bool {
        self.updated_families()
            .all(|(_, _, state)| !self.is_late(state, now))
    }

    /// Whether a load balancer's packets get a Service here, with current endpoints.
    pub(super) fn serves_packets(&self, now: Moment) -> bool {
        self.is_healthy(now) && !self.lacks_packets
    }

    /// The JSON, and whether it says that all is well.
    ///
    /// `with_node`: whether packets get a Service and the node's eligibility count too, and the latter is part of the JSON.
    pub(super) fn body(&self, with_node: bool, now: Moment) -> (Body, bool) {
        let healthy = match with_node {
            true => self.serves_packets(now),
            false => self.is_healthy(now),
        };
        let is_well = healthy && (!with_node || self.node.is_eligible());
        let last = self.updated_families().map(|(_, updated, _)| updated).max();
        let body = Body {
            // While all is well, kube-proxy says that it is up to date now, as old releases did.
            last_updated: if is_well {
                now.time
            } else {
                last.unwrap_or_else(never)
            },
            current_time: now.time,
            node_eligible: with_node.then(|| self.node.is_eligible()),
            healthy,
            status: self
                .updated_families()
                .map(|(family, last_updated, state)| {
                    let healthy = !self.is_late(state, now);
                    let status = FamilyBody {
                        last_updated,
                        healthy,
                    };
                    (family.to_string(), status)
                })
                .collect(),
        };
        (body, is_well)
    }

    /// A family counts from its first update on; before that the agent is starting, and healthy.
    fn updated_families(&self) -> impl Iterator<Item = (Family, Timestamp, FamilyState)> {
        self.families.iter().filter_map(|(&family, &state)| {
            let updated = state.updated?;
            Some((family, updated, state))
        })
    }

    /// A main loop that does not run notices no changes, so its silence counts like a change that waits. kube-proxy notices
    /// changes on a thread of its own.
    fn is_late(&self, state: FamilyState, now: Moment) -> bool {
        let waits = [state.queued, self.beat].into_iter().flatten();
        waits
            .map(|since| now.instant.saturating_duration_since(since))
            .any(|waited| waited >= TIMEOUT)
    }
}

fn never() -> Timestamp {
    Timestamp::from_second(NEVER).unwrap_or(Timestamp::MIN)
}

/// `ProxyHealth` of kube-proxy, with the same keys in the same order.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Body {
    last_updated: Timestamp,
    current_time: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    node_eligible: Option<bool>,
    healthy: bool,
    /// By `IPv4` and `IPv6`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    status: BTreeMap<String, FamilyBody>,
}

#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct FamilyBody {
    last_updated: Timestamp,
    healthy: bool,
}
