//! What goes: after all that is new is in place, in the order that readers rely on.

use std::collections::BTreeSet;

use lb_common::{FrontendKey, SlotRun};

use super::apply::{frontend_keys, wanted_state};
use super::member::Member;
use super::resting::Item;
use super::{ApplyError, Backing, Tables, ViewState};
use crate::policy::{Backend, ServicePort};

impl<B: Backing> Tables<B> {
    /// Removes the frontends that these service ports have and none of them wants.
    pub(super) fn remove_unwanted_frontends(&mut self, ports: &[ServicePort]) {
        let wanted: BTreeSet<FrontendKey> = ports.iter().flat_map(frontend_keys).collect();
        for port in ports {
            if let Some(&id) = self.ids.get(&port.key)
                && let Err(error) = self.remove_frontends(id, |key| !wanted.contains(key))
            {
                tracing::error!("{}: a frontend is not removed: {error}", port.key);
            }
        }
    }

    /// Takes away what a service port no longer needs.
    pub(super) fn lower(&mut self, port: &ServicePort) -> Result<(), ApplyError> {
        let Some(&id) = self.ids.get(&port.key) else {
            return Ok(());
        };
        let wanted: BTreeSet<FrontendKey> = frontend_keys(port).collect();
        let gone = self.remove_frontends(id, |key| !wanted.contains(key));
        if gone.is_ok() {
            self.retire_unnamed_views(id);
        }
        self.lower_members(id, &port.backends);
        if let Some(state) = self.ports.get_mut(&id) {
            state.shrink();
        }
        gone
    }

    /// Takes a whole service port away.
    pub(super) fn remove(&mut self, id: u32) -> Result<(), ApplyError> {
        self.remove_frontends(id, |_| true)?;
        self.retire_unnamed_views(id);
        self.lower_members(id, &[]);
        self.ports.remove(&id);
        Ok(())
    }

    /// The bits of those that stay as they are to be, and none for those that go.
    fn lower_members(&mut self, id: u32, backends: &[Backend]) {
        let Some(port) = self.ports.get_mut(&id) else {
            return;
        };
        let mut last = None;
        let protocol = port.protocol;
        let members = std::mem::take(&mut port.members);
        let mut kept = Vec::with_capacity(backends.len());
        for member in members {
            let repeated = last == Some(member.address);
            last = Some(member.address);
            let state = if repeated {
                0
            } else {
                wanted_state(backends, &member)
            };
            if state != member.state {
                self.store_state(member.id, state);
            }
            if state == 0 {
                self.stops.add(protocol);
                self.resting.add(Item::Backend(member.id));
            } else {
                kept.push(Member { state, ..member });
            }
        }
        if let Some(port) = self.ports.get_mut(&id) {
            port.members = kept;
        }
    }

    /// Removes those frontends that are still this service port's.
    fn remove_frontends(
        &mut self,
        id: u32,
        goes: impl Fn(&FrontendKey) -> bool,
    ) -> Result<(), ApplyError> {
        let Some(port) = self.ports.get_mut(&id) else {
            return Ok(());
        };
        let mut result = Ok(());
        let mut kept = Vec::new();
        for key in std::mem::take(&mut port.frontends) {
            let Some(state) = self.frontends.get(&key).filter(|state| state.owner == id) else {
                continue;
            };
            if !goes(&key) {
                kept.push(key);
                continue;
            }
            match self.backing.remove_frontend(&key) {
                Ok(()) => {
                    self.resting.add(Item::Frontend(state.id));
                    if state.is_cluster_ip() {
                        self.guards.remove(key.address);
                    }
                    self.frontends.remove(&key);
                }
                Err(error) => {
                    kept.push(key);
                    result = Err(ApplyError::Frontends(error));
                }
            }
        }
        if let Some(port) = self.ports.get_mut(&id) {
            port.frontends = kept;
        }
        result
    }

    /// Views that no frontend names: after a change of the roles, or of everything.
    fn retire_unnamed_views(&mut self, id: u32) {
        let Some(port) = self.ports.get_mut(&id) else {
            return;
        };
        let named: BTreeSet<u32> = port
            .frontends
            .iter()
            .filter_map(|key| self.frontends.get(key))
            .map(|state| state.view)
            .collect();
        let (kept, gone): (Vec<ViewState>, Vec<ViewState>) = std::mem::take(&mut port.views)
            .into_iter()
            .partition(|view| named.contains(&view.index));
        port.views = kept;
        for view in gone {
            self.resting.add(Item::View(view.index));
            self.retire_run(view.run);
        }
    }

    pub(super) fn retire_run(&mut self, run: SlotRun) {
        if run.cells() > 0 {
            self.resting.add(Item::Run {
                base: run.base,
                cells: run.cells(),
            });
        }
    }
}
