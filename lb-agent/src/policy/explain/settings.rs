//! The settings of a Service that its service ports do not contain.

use super::super::explainer::Explainer;
use super::super::service;
use crate::catalog::ObjectName;

/// The settings of a Service that its service ports do not contain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServiceSettings {
    /// Failed connects to its TCP endpoints are counted, as soon as it has any.
    pub detects_outliers: bool,
    /// The factor of `socklb.dev/spill-over`, in thousandths, whether anything spills over now or not; none: nothing does.
    pub spill_over: Option<u64>,
}

impl Explainer<'_> {
    /// Those of a Service; the default if there is no such Service.
    #[must_use]
    pub fn settings(&self, name: &ObjectName) -> ServiceSettings {
        let Some(service) = self.catalog.service(name) else {
            return ServiceSettings::default();
        };
        let fields = service::shared_fields(&self.context, service);
        ServiceSettings {
            detects_outliers: fields.detects_outliers,
            spill_over: fields.spill_over,
        }
    }
}
