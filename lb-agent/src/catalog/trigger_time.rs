//! An annotation of an EndpointSlice that is a time.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer};

/// The annotation `endpoints.kubernetes.io/last-change-trigger-time` of a slice: when the control plane noticed the change of a pod or of
/// the Service from which the slice's last change follows. None if it is absent or not a time.
///
/// It is not a part of the contents: all values are equal.
#[derive(Clone, Copy, Debug, Default)]
pub struct TriggerTime(pub(super) Option<Timestamp>);

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
