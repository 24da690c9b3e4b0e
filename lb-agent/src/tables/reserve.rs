//! All that a service port needs, taken before the first store: it fits whole or nothing changes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::ops::Range;

use lb_common::{FrontendKey, SlotRun};

use super::apply::frontend_keys;
use super::cell::load_cell;
use super::member::{self, Member};
use super::{ApplyError, Backing, Role, Table, Tables, ViewState, form};
use crate::catalog::Protocol;
use crate::policy::{Algorithm, ServicePort, View};

/// What a service port is to look like, with ids and runs already given to it.
pub struct Reserved {
    pub views: Vec<Planned>,
    pub frontends: BTreeMap<FrontendKey, PlannedFrontend>,
    /// Those that stay and those that are new, sorted by address.
    pub members: Vec<Member>,
    /// The ids in `members` that are new.
    pub new: BTreeSet<u32>,
}

/// A view as it is to be.
pub struct Planned {
    pub index: u32,
    pub role: Role,
    /// None: the run that it has stays.
    pub slots: Option<(SlotRun, Vec<u32>)>,
    /// Not in the tables yet.
    pub is_new: bool,
}

/// A frontend as it is to be.
pub struct PlannedFrontend {
    pub id: u32,
    pub role: Role,
    pub kind: u8,
    pub is_host_only: bool,
    /// Not in the tables yet.
    pub is_new: bool,
}

impl<B: Backing> Tables<B> {
    /// Takes what a service port needs; gives all of it back if anything is missing.
    ///
    /// `id`: none for a service port that is not in the tables.
    pub(super) fn reserve(
        &mut self,
        port: &ServicePort,
        id: Option<u32>,
    ) -> Result<Reserved, ApplyError> {
        let mut reserved = Reserved {
            views: Vec::new(),
            frontends: BTreeMap::new(),
            members: Vec::new(),
            new: BTreeSet::new(),
        };
        let views = port.views();
        let taken = self
            .check_ids(port, &views, id)
            .and_then(|()| self.reserve_members(port, id, &mut reserved))
            .and_then(|()| {
                views.iter().try_for_each(|view| {
                    self.reserve_view(port.algorithm, view, id, &mut reserved)?;
                    self.reserve_frontends(view, port.key.protocol, &mut reserved)
                })
            });
        match taken {
            Ok(()) => Ok(reserved),
            Err(error) => {
                self.give_back(reserved);
                Err(error)
            }
        }
    }

    /// Whether there are ids for all its frontends and views: so what is refused says all that it needs.
    fn check_ids(
        &self,
        port: &ServicePort,
        views: &[View<'_>],
        id: Option<u32>,
    ) -> Result<(), ApplyError> {
        let enough = |table, needed, left| match needed > left {
            true => Err(ApplyError::Full {
                table,
                needed,
                left,
            }),
            false => Ok(()),
        };
        let left = self.frontend_ids.left();
        if port.frontends.len() > left {
            let keys: BTreeSet<FrontendKey> = frontend_keys(port).collect();
            let missing = |key: &&FrontendKey| !self.frontends.contains_key(*key);
            enough(
                Table::FrontendList,
                keys.iter().filter(missing).count(),
                left,
            )?;
        }
        let present = id.and_then(|id| self.ports.get(&id));
        let present = present.map_or(&[][..], |state| &state.views);
        let missing = |view: &&View<'_>| present.iter().all(|p| p.role != Role::of(view.scope));
        let needed = views.iter().filter(missing).count();
        enough(Table::Views, needed, self.view_indexes.left())
    }

    fn reserve_members(
        &mut self,
        port: &ServicePort,
        id: Option<u32>,
        reserved: &mut Reserved,
    ) -> Result<(), ApplyError> {
        let home = self.home(port, id);
        // Behind the homes of as many views again as there are.
        let views = self.view_indexes.lowest().unwrap_or(0);
        let others = lb_common::view::home(views.saturating_mul(2)).start;
        let present = id
            .and_then(|id| self.ports.get(&id))
            .map_or(&[][..], |state| &state.members);
        let missing = |address: SocketAddr| member::find(present, address).is_none();
        let needed = port.backends.iter().filter(|b| missing(b.address)).count();
        let left = self.backend_ids.left();
        if needed > left {
            return Err(ApplyError::Full {
                table: Table::Backends,
                needed,
                left,
            });
        }
        for backend in &port.backends {
            let member = match member::find(present, backend.address) {
                Some(member) => Member {
                    weight: backend.weight,
                    ..*member
                },
                None => {
                    let Some(id) = self.backend_ids.take_preferred(home.clone(), others) else {
                        continue;
                    };
                    reserved.new.insert(id);
                    Member {
                        address: backend.address,
                        id,
                        state: 0,
                        weight: backend.weight,
                    }
                }
            };
            reserved.members.push(member);
        }
        Ok(())
    }

    /// The ids that a service port's backends have where they can: readers begin to read these as soon as they know the
    /// view.
    ///
    /// `id`: none for a service port that is not in the tables.
    fn home(&mut self, port: &ServicePort, id: Option<u32>) -> Range<u32> {
        let state = id.and_then(|id| self.ports.get(&id));
        let first = state.and_then(|state| state.views.first());
        let index = match first.map(|view| view.index) {
            Some(index) => Some(index),
            None if port.views().is_empty() => None,
            // The one that it is about to get.
            None => self.view_indexes.lowest(),
        };
        index.map_or(0..0, lb_common::view::home)
    }

    fn reserve_view(
        &mut self,
        algorithm: Algorithm,
        view: &View<'_>,
        id: Option<u32>,
        reserved: &mut Reserved,
    ) -> Result<(), ApplyError> {
        let role = Role::of(view.scope);
        let present = id
            .and_then(|id| self.ports.get(&id))
            .and_then(|state| state.views.iter().find(|view| view.role == role))
            .copied();
        let of: Vec<&Member> = view
            .backends
            .iter()
            .filter_map(|backend| member::find(&reserved.members, backend.address))
            .collect();
        let length = present.map_or(0, |view| view.run.length);
        let slots = member::slots(form::algorithm_number(algorithm), &of, length);
        let index = present
            .map(|view| view.index)
            .or_else(|| self.view_indexes.take())
            .ok_or(ApplyError::Full {
                table: Table::Views,
                needed: 1,
                left: 0,
            })?;
        let run = if present.is_some_and(|view| self.has_slots(&view, &slots)) {
            Ok(None)
        } else {
            self.reserve_run(index, &slots).map(Some)
        };
        if run.is_err() && present.is_none() {
            self.view_indexes.give_back(index);
        }
        reserved.views.push(Planned {
            index,
            role,
            slots: run?.map(|run| (run, slots)),
            is_new: present.is_none(),
        });
        Ok(())
    }

    pub(super) fn reserve_run(&mut self, view: u32, slots: &[u32]) -> Result<SlotRun, ApplyError> {
        let full = |left| ApplyError::Full {
            table: Table::Slots,
            needed: slots.len().div_ceil(2),
            left,
        };
        let mut run = SlotRun {
            base: 0,
            length: u32::try_from(slots.len()).map_err(|_| full(0))?,
        };
        if run.length > 0 {
            let left = usize::try_from(self.runs.left()).unwrap_or(usize::MAX);
            run.base = self
                .runs
                .take_own(view, run.length)
                .or_else(|| self.runs.take(run.cells()))
                .ok_or_else(|| full(left))?;
        }
        Ok(run)
    }

    fn reserve_frontends(
        &mut self,
        view: &View<'_>,
        protocol: Protocol,
        reserved: &mut Reserved,
    ) -> Result<(), ApplyError> {
        for frontend in &view.frontends {
            let Some(key) = form::frontend_key(frontend, protocol) else {
                continue;
            };
            if reserved.frontends.contains_key(&key) {
                continue;
            }
            let present = self.frontends.get(&key).map(|state| state.id);
            let id = match present {
                Some(id) => id,
                None => self.frontend_ids.take().ok_or(ApplyError::Full {
                    table: Table::FrontendList,
                    needed: 1,
                    left: 0,
                })?,
            };
            let planned = PlannedFrontend {
                id,
                role: Role::of(view.scope),
                kind: form::frontend_kind(frontend.kind),
                is_host_only: form::is_host_only(frontend),
                is_new: present.is_none(),
            };
            reserved.frontends.insert(key, planned);
        }
        Ok(())
    }

    /// Nothing of it was in the tables, so nobody can hold it.
    fn give_back(&mut self, reserved: Reserved) {
        for id in reserved.new {
            self.backend_ids.give_back(id);
        }
        for view in reserved.views {
            if view.is_new {
                self.view_indexes.give_back(view.index);
            }
            if let Some((run, _)) = view.slots {
                self.runs.give_back(run.base, run.cells());
            }
        }
        for frontend in reserved.frontends.into_values() {
            if frontend.is_new {
                self.frontend_ids.give_back(frontend.id);
            }
        }
    }

    /// Whether a view's slots are these already.
    fn has_slots(&self, view: &ViewState, slots: &[u32]) -> bool {
        view.run.length as usize == slots.len() && self.slots_of(view.run).eq(slots.iter().copied())
    }

    /// The backend ids that a run holds.
    pub(super) fn slots_of(&self, run: SlotRun) -> impl Iterator<Item = u32> {
        (0..run.length).map(move |slot| {
            lb_common::view::slot_of(load_cell(&self.backing, run.cell(slot)), slot)
        })
    }
}
