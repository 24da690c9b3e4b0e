//! The views of a service port: the backends that each of its frontends offers.

use std::fmt;

use super::service_port::{Backend, Frontend, FrontendKind, ServicePort, SpillOver};

/// The frontends that use a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// All frontends: they have the same backends.
    All,
    /// NodePort, external IP and LoadBalancer IP.
    External,
    /// ClusterIP.
    Internal,
    /// The frontends of [`Self::External`] for packets from outside, with `externalTrafficPolicy: Local`.
    Outside,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::All => "all",
            Self::External => "external",
            Self::Internal => "internal",
            Self::Outside => "outside",
        })
    }
}

/// The backends that some frontends of a service port offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View<'a> {
    pub scope: Scope,
    pub frontends: Vec<&'a Frontend>,
    pub backends: Vec<&'a Backend>,
    /// Never of the policy Local.
    pub spill_over: Option<&'a SpillOver>,
}

impl ServicePort {
    /// The views that have a frontend, sorted by scope: one, or two when a Local policy makes their backends differ, and one
    /// more for packets from outside if `externalTrafficPolicy` is Local.
    #[must_use]
    pub fn views(&self) -> Vec<View<'_>> {
        let differ = self.backends.iter().any(|b| b.internal != b.external);
        let scopes: &[Scope] = if differ {
            &[Scope::External, Scope::Internal]
        } else {
            &[Scope::All]
        };
        let outside = self.external_local.then_some(Scope::Outside);
        let views = scopes
            .iter()
            .copied()
            .chain(outside)
            .map(|scope| self.view(scope));
        views.filter(|view| !view.frontends.is_empty()).collect()
    }

    fn view(&self, scope: Scope) -> View<'_> {
        let has_frontend = |frontend: &&Frontend| match scope {
            Scope::All => true,
            Scope::External => frontend.kind != FrontendKind::ClusterIp,
            Scope::Outside => frontend.is_reached_from_outside(),
            Scope::Internal => frontend.kind == FrontendKind::ClusterIp,
        };
        let has_backend = |backend: &&Backend| match scope {
            Scope::All | Scope::Internal => backend.internal,
            Scope::External => backend.external,
            Scope::Outside => backend.outside,
        };
        let backends: Vec<&Backend> = self.backends.iter().filter(has_backend).collect();
        let spills_over = backends.iter().any(|of| self.spills_to(of.address))
            && !backends.iter().all(|of| self.spills_to(of.address));
        View {
            scope,
            frontends: self.frontends.iter().filter(has_frontend).collect(),
            backends,
            spill_over: self.spill_over.as_deref().filter(|_| spills_over),
        }
    }
}
