//! The health checks of all Services, kept up to date with the Services that change.

use std::collections::BTreeMap;

use crate::catalog::{Catalog, ObjectName, Problem};
use crate::policy::{HealthCheck, Policy};

/// The Services that load balancers ask about.
#[derive(Clone, Debug, Default)]
pub struct HealthChecks {
    checks: BTreeMap<ObjectName, HealthCheck>,
    problems: BTreeMap<ObjectName, Problem>,
}

impl HealthChecks {
    /// Evaluates the touched Services again, after [`Policy::update`] with the same ones. Returns whether a check differs.
    pub fn update<'a>(
        &mut self,
        catalog: &Catalog,
        policy: &Policy,
        touched: impl IntoIterator<Item = &'a ObjectName>,
    ) -> bool {
        let mut differs = false;
        for name in touched {
            let (check, problem) = match policy.health_check(catalog, name) {
                Ok(check) => (check, None),
                Err(problem) => (None, Some(problem)),
            };
            differs |= replace(&mut self.checks, name, check) != check;
            replace(&mut self.problems, name, problem);
        }
        differs
    }

    #[must_use]
    pub const fn checks(&self) -> &BTreeMap<ObjectName, HealthCheck> {
        &self.checks
    }

    /// Services that need a health check and have no port for it.
    pub fn problems(&self) -> impl Iterator<Item = &Problem> {
        self.problems.values()
    }
}

/// Returns the value before.
fn replace<T>(all: &mut BTreeMap<ObjectName, T>, name: &ObjectName, new: Option<T>) -> Option<T> {
    match new {
        Some(new) => all.insert(name.clone(), new),
        None => all.remove(name),
    }
}
