//! Desired against current: the shortest list of stores that makes the tables say what the policy says.
//!
//! Knows ids, runs, capacity and what rests before reuse; knows no kernel. Readers run between any two
//! stores, and see the old choice of a frontend or the new one, whole:
//!
//! 1. backends into free ids, slots into a free run, then one store of the view's `slots`;
//! 2. a frontend's element after the view that it names;
//! 3. what nobody names any more rests (`resting`) before it is used again.
//!
//! The tables are the only state that outlives the agent: `recover` finds everything else in them.

mod apply;
mod backing;
mod cell;
mod drift;
mod form;
mod guard;
mod ids;
mod less;
mod lower;
mod maglev;
mod member;
mod net;
mod recover;
mod reserve;
mod resting;
mod runs;
mod stale;
mod sweep;
#[cfg(any(test, feature = "fuzzing"))]
#[cfg_attr(not(test), expect(dead_code, reason = "the fuzzer wants some of it"))]
pub mod tests;
mod usage;

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::SocketAddr;

use lb_common::backend::Backend as BackendLine;
use lb_common::config::{HOST_NETNS, NEXT_SERVICE_PORT, STEP_ASIDE_AT};
use lb_common::frontend::kind;
use lb_common::{FrontendKey, FrontendValue, SlotRun, Target, config};

pub use self::backing::{Backing, Copies, Part, Table};
pub use self::drift::{Check, Drift, Elements};
use self::guard::Guards;
use self::ids::Ids;
use self::member::Member;
use self::resting::{Item, Resting};
use self::runs::Runs;
pub use self::stale::{Stale, Stops, has_stopped};
pub use self::usage::{Room, Usage};
use crate::policy::{ServicePort, ServicePortKey, Update};

/// The tables and what the agent knows of them.
#[derive(Debug)]
pub struct Tables<B> {
    backing: B,
    /// What CONFIG says.
    config: [u64; config::WORDS as usize],
    /// The id of each service port that was asked for.
    ids: HashMap<ServicePortKey, u32>,
    /// By service port id.
    ports: HashMap<u32, PortState>,
    frontends: HashMap<FrontendKey, FrontendState>,
    /// Service ports that were found in the tables and that nobody has asked for yet.
    orphans: BTreeSet<u32>,
    frontend_ids: Ids,
    view_indexes: Ids,
    backend_ids: Ids,
    runs: Runs,
    resting: Resting,
    guards: Guards,
    stops: Stops,
}

#[derive(Debug, Default)]
struct PortState {
    /// IPPROTO_TCP or IPPROTO_UDP.
    protocol: u8,
    views: Vec<ViewState>,
    /// Sorted by address.
    members: Vec<Member>,
    frontends: Vec<FrontendKey>,
}

impl PortState {
    /// Gives back what growing left over: there may be very many.
    fn shrink(&mut self) {
        self.views.shrink_to_fit();
        self.members.shrink_to_fit();
        self.frontends.shrink_to_fit();
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ViewState {
    index: u32,
    run: SlotRun,
    role: Role,
    /// One of [`lb_common::view::algorithm`].
    algorithm: u32,
    /// 0: no affinity.
    affinity_seconds: u32,
    /// Of the run's cells as they were written.
    fingerprint: u64,
}

/// Which frontends of a service port a view serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// The ClusterIP's, and all others that have the same backends.
    Internal,
    /// All but the ClusterIP's, when their backends differ.
    External,
}

#[derive(Clone, Copy, Debug)]
struct FrontendState {
    id: u32,
    view: u32,
    /// Service port id.
    owner: u32,
    /// One of [`kind`].
    kind: u8,
    is_host_only: bool,
}

impl FrontendState {
    /// Whether its address is guarded.
    const fn is_cluster_ip(&self) -> bool {
        self.kind == kind::CLUSTER_IP
    }

    /// What FRONTENDS says of it.
    const fn value(&self, key: &FrontendKey) -> FrontendValue {
        let target = Target {
            view: self.view,
            frontend: self.id,
            is_host_only: self.is_host_only,
        };
        FrontendValue::new(key, target)
    }
}

/// A service port that the tables could not take; what they held of it stays in effect as far as it is still wanted.
#[derive(Debug)]
pub struct Refused {
    pub port: ServicePort,
    pub error: ApplyError,
    /// They hold something of it.
    pub is_in_effect: bool,
}

/// Why the tables could not take a service port.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    #[error("{} is full: {needed} needed, {left} left", table.name())]
    Full {
        table: Table,
        needed: usize,
        left: usize,
    },
    #[error("FRONTENDS cannot be written: {0}")]
    Frontends(#[source] io::Error),
}

/// What the tables hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub service_ports: usize,
    pub frontends: usize,
    pub backends: usize,
    pub resting: usize,
}

/// A backend and its counters.
#[derive(Clone, Debug)]
pub struct BackendCounters<'a> {
    pub port: &'a ServicePortKey,
    pub address: SocketAddr,
    pub id: u32,
    /// Bits of [`lb_common::backend::state`].
    pub state: u64,
    pub connections: u64,
    pub active: u64,
}

impl<B: Backing> Tables<B> {
    /// Makes the tables say what has changed: first all that is new, then what is to go, so that a frontend
    /// that moves from one service port to another is never missing. Frontends that nobody wants any more go
    /// before that, so that they never show a choice that was not meant for them.
    ///
    /// The oldest Services come first. Returns what the tables could not take, to be tried again when there is room.
    pub fn apply(&mut self, mut update: Update) -> Vec<Refused> {
        update.changed.sort_by_key(ServicePort::seniority);
        let mut refused = Vec::new();
        let mut raised = Vec::new();
        self.guards.name(&update);
        self.adopt(&update.changed);
        self.remove_unwanted_frontends(&update.changed);
        for mut port in update.changed {
            port.backends.retain(|b| form::backend_state(b) != 0);
            match self.raise(&port) {
                Ok(()) => raised.push(port),
                Err(error) => {
                    raised.extend(self.raise_less(&port, &error));
                    refused.push(self.refused(port, error));
                }
            }
        }
        for port in &raised {
            if let Err(error) = self.lower(port) {
                refused.push(self.refused(port.clone(), error));
            }
        }
        for key in &update.removed {
            if let Some(id) = self.ids.remove(key)
                && let Err(error) = self.remove(id)
            {
                tracing::error!("{key}: not wholly removed: {error}");
            }
        }
        for port in &raised {
            self.guards.remove_unfit(&port.key);
        }
        for key in &update.removed {
            self.guards.remove_unfit(key);
        }
        for Refused { port, .. } in &refused {
            self.guards.add_unfit(port);
        }
        self.settle_guards();
        refused
    }

    fn refused(&self, port: ServicePort, error: ApplyError) -> Refused {
        Refused {
            is_in_effect: self.ids.contains_key(&port.key),
            port,
            error,
        }
    }

    /// Every source has listed once: what nobody asked for goes.
    pub fn settle(&mut self) {
        for id in std::mem::take(&mut self.orphans) {
            if let Err(error) = self.remove(id) {
                tracing::error!("a Service that is gone: not wholly removed: {error}");
            }
        }
        self.settle_guards();
    }

    /// Tells the programs which network namespace is the host's (SO_NETNS_COOKIE).
    pub fn set_host_network(&mut self, cookie: u64) {
        self.store_config(HOST_NETNS, cookie);
    }

    /// Tells the programs from when on to pass connects and sends untouched, in ns of CLOCK_MONOTONIC; 0: never.
    pub fn step_aside_at(&mut self, at: u64) {
        self.store_config(STEP_ASIDE_AT, at);
    }

    /// Whether a grace period is to be waited for now; then say so with [`Self::grace_is_over`].
    #[must_use]
    pub fn begin_grace(&mut self) -> bool {
        self.resting.begin()
    }

    /// No program that ran at [`Self::begin_grace`] is running any more.
    pub fn grace_is_over(&mut self) {
        for item in self.resting.end() {
            match item {
                Item::Run { base, cells } => self.runs.give_back(base, cells),
                Item::View(index) => self.view_indexes.give_back(index),
                Item::Backend(_) | Item::Frontend(_) => self.resting.named.push(item),
            }
        }
        self.free_unnamed();
    }

    /// Frees the backend ids on which no way counts and the frontend ids that no way names.
    ///
    /// One pass over ORIGINS, when there is a frontend id to ask for.
    pub fn free_unnamed(&mut self) {
        let named = self.named_frontends();
        for item in std::mem::take(&mut self.resting.named) {
            match item {
                Item::Backend(id) if self.active(id) == 0 => self.backend_ids.give_back(id),
                Item::Frontend(id) if named.as_ref().is_some_and(|n| !n.contains(&id)) => {
                    self.frontend_ids.give_back(id);
                }
                _ => self.resting.named.push(item),
            }
        }
    }

    /// Whether anything waits to be used again.
    #[must_use]
    pub fn rests(&self) -> bool {
        !self.resting.is_empty()
    }

    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts {
            service_ports: self.ports.len(),
            frontends: self.frontends.len(),
            backends: self.ports.values().map(|port| port.members.len()).sum(),
            resting: self.resting.len(),
        }
    }

    /// All backends of the service ports that were asked for, in no order.
    pub fn backends(&self) -> impl Iterator<Item = BackendCounters<'_>> {
        self.ids
            .iter()
            .filter_map(|(key, id)| Some((key, self.ports.get(id)?)))
            .flat_map(move |(key, port)| {
                port.members.iter().map(move |member| BackendCounters {
                    port: key,
                    address: member.address,
                    id: member.id,
                    state: member.state,
                    connections: self.backing.load(
                        Table::Backends,
                        member.id,
                        BackendLine::CONNECTIONS_WORD,
                    ),
                    active: self.active(member.id),
                })
            })
    }

    #[must_use]
    pub const fn backing(&self) -> &B {
        &self.backing
    }

    fn active(&self, backend: u32) -> u64 {
        self.backing
            .load(Table::Backends, backend, BackendLine::ACTIVE_WORD)
    }

    /// The frontend ids that ORIGINS and SPILL name; none when they can't be read, or nobody asks.
    fn named_frontends(&self) -> Option<BTreeSet<u32>> {
        let wanted: BTreeSet<u32> = self
            .resting
            .named
            .iter()
            .filter_map(|item| match item {
                Item::Frontend(id) => Some(*id),
                _ => None,
            })
            .collect();
        if wanted.is_empty() {
            return None;
        }
        let mut named = BTreeSet::new();
        let seen = self.backing.places(&mut |_, pair| {
            if wanted.contains(&pair.frontend) {
                named.insert(pair.frontend);
            }
        });
        match seen {
            Ok(()) => Some(named),
            Err(error) => {
                tracing::warn!("ORIGINS cannot be read, frontend ids rest on: {error}");
                None
            }
        }
    }

    /// A service port id that was not given out before, or not for four billion ids.
    fn next_service_port(&mut self) -> u32 {
        let next = self.config[NEXT_SERVICE_PORT as usize];
        let mut next = u32::try_from(next).unwrap_or_default().max(1);
        while self.ports.contains_key(&next) {
            next = next.wrapping_add(1).max(1);
        }
        self.store_config(NEXT_SERVICE_PORT, u64::from(next.wrapping_add(1)));
        next
    }
}
