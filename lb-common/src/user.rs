//! For user space: the trait that aya requires of keys and values.

use crate::affinity::AffinityKey;
use crate::backend::Backend;
use crate::event::Limit;
use crate::flow::{FlowKey, Reply, ReplyKey};
use crate::frontend::{FrontendEntry, FrontendKey, FrontendValue};
use crate::origin::Set;
use crate::service_counters::ServiceCounters;
use crate::view::View;

/// aya's `Pod` is not bytemuck's, which is derived and thus checked by the compiler.
macro_rules! pod {
    ($($name:ty),*) => {$(
        // SAFETY: the type is `bytemuck::Pod`: any bytes are a value of it, and it has no padding.
        unsafe impl aya::Pod for $name where $name: bytemuck::Pod {}
    )*};
}

pod!(
    FrontendKey,
    FrontendValue,
    FrontendEntry,
    View,
    Backend,
    AffinityKey,
    Set,
    FlowKey,
    ReplyKey,
    Reply,
    Limit,
    ServiceCounters
);
