//! When the control plane noticed what has changed slices: for the time from there until the slices are in effect.

use std::collections::HashMap;

use jiff::Timestamp;

use super::endpoint_slice::EndpointSlice;
use super::object_id::ObjectName;
use super::protocol::Family;
use super::trigger_time::TriggerTime;

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
