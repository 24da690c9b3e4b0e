//! The kinds that only an agent that selects pods reads.

use crate::catalog::Kind;

/// Which of the kinds that select clients to read; none by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientKinds {
    pub pods: bool,
    pub namespaces: bool,
}

impl ClientKinds {
    pub(super) fn kinds(self) -> impl Iterator<Item = Kind> {
        let pods = self.pods.then_some(Kind::Pod);
        let namespaces = self.namespaces.then_some(Kind::Namespace);
        pods.into_iter().chain(namespaces)
    }

    /// Whether objects of this kind are read.
    pub(super) const fn includes(self, kind: Kind) -> bool {
        match kind {
            Kind::Pod => self.pods,
            Kind::Namespace => self.namespaces,
            Kind::Service | Kind::EndpointSlice | Kind::Node | Kind::ServiceCidr => true,
        }
    }
}
