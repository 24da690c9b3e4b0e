//! When the control plane noticed what has changed slices: for the time from there until the slices are in effect.

use std::borrow::Cow;
use std::collections::HashMap;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer};

use super::endpoint_slice::EndpointSlice;
use super::object_id::ObjectName;
use super::protocol::Family;

/// The annotation `endpoints.kubernetes.io/last-change-trigger-time` of a slice: when the control plane noticed the change of a pod or of
/// the Service from which the slice's last change follows. None if it is absent or not a time.
///
/// It is not a part of the contents: all values are equal.
#[derive(Clone, Copy, Debug, Default)]
pub struct TriggerTime(Option<Timestamp>);

impl PartialEq for TriggerTime {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl<'de> Deserialize<'de> for TriggerTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text: Option<Cow<'de, str>> = Option::deserialize(deserializer)?;
        Ok(Self(text.and_then(|text| text.parse().ok())))
    }
}

/// Why a slice has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trigger {
    /// Of the slice's addresses.
    pub family: Family,
    pub at: Timestamp,
}

/// Collects the triggers of changes, by the rules of kube-proxy's `EndpointSliceUpdate` (pkg/proxy/endpointschangetracker.go).
#[derive(Debug, Default)]
pub(super) struct Triggers {
    /// None: collect nothing.
    since: Option<Timestamp>,
    pending: HashMap<ObjectName, Vec<Trigger>>,
}

impl Triggers {
    /// Collects triggers from now on. Earlier ones say nothing about this process.
    pub(super) fn collect(&mut self, since: Timestamp) {
        self.since = Some(since);
    }

    /// A slice is new, or its contents have changed.
    pub(super) fn changed(&mut self, owner: &ObjectName, slice: &EndpointSlice) {
        let TriggerTime(at) = slice.metadata.annotations.last_change_trigger_time;
        if let (Some(since), Some(at)) = (self.since, at)
            && at > since
            && let Some(family) = Family::parse(&slice.address_type)
        {
            let of_service = self.pending.entry(owner.clone()).or_default();
            of_service.push(Trigger { family, at });
        }
    }

    /// A slice of this Service is gone. What its annotation says is older than that.
    pub(super) fn removed(&mut self, owner: &ObjectName) {
        self.pending.remove(owner);
    }

    pub(super) fn take(&mut self) -> Vec<Trigger> {
        let pending = std::mem::take(&mut self.pending);
        pending.into_values().flatten().collect()
    }
}
