//! What explanations are made from.

use super::allocated::AllocatedAddresses;
use super::claims::{Claims, Site};
use super::context::Context;
use super::entries::Entries;
use super::service;
use super::service_port::{Frontend, ServicePort, ServicePortKey};
use super::skip::Skips;
use crate::catalog::{Catalog, ObjectName};

/// Explains the last result of the policy.
#[derive(Clone, Copy, Debug)]
pub struct Explainer<'a> {
    pub(super) context: Context<'a>,
    pub(super) catalog: &'a Catalog,
    pub(super) entries: &'a Entries,
    pub(super) claims: &'a Claims,
    pub(super) named: &'a AllocatedAddresses,
}

impl<'a> Explainer<'a> {
    /// What of a Service gets no frontend, claims of other Services apart.
    #[must_use]
    pub fn skips(&self, name: &ObjectName) -> Skips {
        let mut skips = Skips::default();
        service::judge(&self.context, self.catalog, name, Some(&mut skips));
        skips
    }

    /// The frontends that a service port wants and other service ports have, each with the one that has it.
    pub fn claimed_by_others(
        self,
        key: &'a ServicePortKey,
    ) -> impl Iterator<Item = (&'a Frontend, &'a ServicePortKey)> {
        let lost = self.entries.get(key).map(|entry| &entry.lost);
        let claims = self.claims;
        lost.into_iter().flatten().filter_map(move |frontend| {
            let holder = claims.holder(&Site::of(key, frontend))?;
            Some((frontend, &holder.key))
        })
    }

    /// The service ports of a Service, with or without frontends.
    pub(super) fn ports_of(&self, name: &ObjectName) -> impl Iterator<Item = &'a ServicePort> {
        self.entries.of(name).map(|(_, entry)| &entry.port)
    }
}
