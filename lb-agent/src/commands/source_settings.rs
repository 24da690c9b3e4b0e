//! The settings of commands that read a source.

use ipnet::IpNet;

use crate::policy::{Options, RefuseUnknown};
use crate::source::Source;

/// The source of Services, and the node to select for.
#[derive(Clone, Debug)]
pub struct SourceSettings {
    pub source: Source,
    pub policy: Options,
}

impl SourceSettings {
    /// Refuses addresses that no Service has: in these networks, or in those of the cluster's ServiceCIDRs if there are
    /// none.
    pub fn refuse_unknown(&mut self, cidrs: Vec<IpNet>) {
        if let Source::Kubernetes(settings) = &mut self.source {
            // These addresses must not be refused.
            settings.wants_foreign = true;
            settings.wants_service_cidrs = cidrs.is_empty();
        }
        self.policy.refuse_unknown = if cidrs.is_empty() {
            RefuseUnknown::InServiceCidrs
        } else {
            RefuseUnknown::In(cidrs)
        };
    }
}
