//! Which frontends of a service port a view serves.

use lb_common::backend::state;

use crate::policy::Scope;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The ClusterIP's, and all others that have the same backends.
    Internal,
    /// All but the ClusterIP's, when their backends differ.
    External,
    /// Those that `externalTrafficPolicy: Local` applies to, for packets from outside.
    Outside,
}

impl Role {
    #[must_use]
    pub const fn of(scope: Scope) -> Self {
        match scope {
            Scope::All | Scope::Internal => Self::Internal,
            Scope::External => Self::External,
            Scope::Outside => Self::Outside,
        }
    }

    /// The bit of [`lb_common::backend::state`] that its backends have.
    #[must_use]
    pub const fn bit(self) -> u64 {
        match self {
            Self::Internal => state::INTERNAL,
            Self::External => state::EXTERNAL,
            Self::Outside => state::OUTSIDE,
        }
    }
}
