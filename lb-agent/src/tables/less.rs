//! A service port of which not everything fits: what is new of it waits, but what goes does not stay for that.

use lb_common::FrontendKey;

use super::member;
use super::{ApplyError, Backing, Table, Tables, form};
use crate::policy::{Algorithm, ServicePort};

impl<B: Backing> Tables<B> {
    /// Puts a service port in without those new backends or frontends that have no room: otherwise backends that are gone would
    /// go on being chosen for as long as those do not fit that come in their places.
    ///
    /// Returns what was put in. None: nothing was, and what the tables had of it stays, if anything.
    pub(super) fn raise_less(
        &mut self,
        port: &ServicePort,
        refused: &ApplyError,
    ) -> Option<ServicePort> {
        let mut less = self.without_new(port, refused)?;
        // One more for each of the tables that may be full.
        for _ in 0..3 {
            match self.raise(&less) {
                Ok(()) => return Some(less),
                Err(refused) => less = self.without_new(&less, &refused)?,
            }
        }
        self.raise(&less).is_ok().then_some(less)
    }

    /// Without what is not in the tables and had no room; without its Maglev table first, if that is it. None for a service port of which nothing is there.
    fn without_new(&self, port: &ServicePort, refused: &ApplyError) -> Option<ServicePort> {
        let id = *self.ids.get(&port.key)?;
        let state = self.ports.get(&id)?;
        let mut less = port.clone();
        match refused {
            // Which takes a hundred slots for each backend.
            ApplyError::Full {
                table: Table::Slots,
                ..
            } if less.algorithm == Algorithm::Maglev => less.algorithm = Algorithm::Random,
            ApplyError::Full {
                table: Table::Backends | Table::Slots,
                ..
            } => less
                .backends
                .retain(|backend| member::find(&state.members, backend.address).is_some()),
            _ => {
                let is_its = |key: FrontendKey| {
                    let frontend = self.frontends.get(&key);
                    frontend.is_some_and(|frontend| frontend.owner == id)
                };
                less.frontends.retain(|frontend| {
                    form::frontend_key(frontend, port.key.protocol).is_some_and(is_its)
                });
            }
        }
        Some(less)
    }
}
