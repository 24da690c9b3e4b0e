//! Invariants of the tables, during and after a change.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use lb_common::{FrontendEntry, FrontendKey, View};

use super::memory::{Memory, State};
use super::reader::{Choice, choice, frontend_of, outside, view_of, wanted};
use super::world::World;
use crate::policy::{Algorithm, Backend, FULL_WEIGHT, Frontend, FrontendKind, Scope, ServicePort};
use crate::tables::backing::Table;
use crate::tables::model::is_guard;
use crate::tables::role::Role;
use crate::tables::{Tables, encode};

/// The choices that each frontend may offer while one world becomes another.
#[derive(Debug)]
pub struct Allowed(BTreeMap<FrontendKey, Vec<Choice>>);

impl Allowed {
    /// The choice that it offers now, and the one that it is to offer. A frontend that moves to another service port may also
    /// offer the new choice of the service port that it leaves.
    ///
    /// `before`: the worlds that the tables may partly contain.
    pub fn between(now: &State, before: &[&World], after: &World) -> Self {
        let new = wanted(after.values());
        let old = before.iter().flat_map(|world| world.values());
        let keys = wanted(old.clone()).into_keys();
        let allowed: BTreeMap<FrontendKey, Vec<Choice>> = keys
            .chain(new.keys().copied())
            .chain(now.frontends.keys().copied().filter(|key| !is_guard(key)))
            .map(|key| (key, vec![choice(now, &key), new.get(&key).cloned()]))
            .collect();
        let mut this = Self(allowed);
        for left in old {
            if let Some(stays) = after.get(&left.key) {
                this.add_moving(left, stays, after);
            }
        }
        this
    }

    /// A starting writer identifies service ports by their ClusterIPs, not by their names.
    pub fn at_a_start(mut self, now: &State, before: &[&World], after: &World) -> Self {
        self.add_left_behind(now, after, false);
        for left in before.iter().flat_map(|world| world.values()) {
            let taken_over = after
                .values()
                .find(|after| cluster_ip(after) == cluster_ip(left));
            if let Some(stays) = taken_over {
                self.add_moving(left, stays, after);
            }
        }
        self
    }

    /// After an unfinished change of an earlier writer, a service port may have frontends of several service ports. The one
    /// that takes it over by its ClusterIP is published before the others have moved their frontends away.
    ///
    /// `may_go`: the others may not fit.
    fn add_left_behind(&mut self, now: &State, after: &World, may_go: bool) {
        let mut left: BTreeMap<u32, BTreeSet<FrontendKey>> = BTreeMap::new();
        for key in now.frontends.keys().filter(|key| !is_guard(key)) {
            let owner = owner(now, key).unwrap_or_default();
            left.entry(owner).or_default().insert(*key);
        }
        for (keys, port) in left
            .values()
            .flat_map(|keys| after.values().map(move |port| (keys, port)))
        {
            let known = cluster_ip(port)
                .and_then(|frontend| encode::frontend_key(frontend, port.key.protocol));
            if known.is_none_or(|known| !keys.contains(&known)) {
                continue;
            }
            let choices: Vec<_> = wanted([port].into_iter()).into_values().collect();
            for key in keys {
                if let Some(allowed) = self.0.get_mut(key) {
                    allowed.extend(choices.iter().cloned().map(Some));
                    allowed.extend(may_go.then_some(None));
                }
            }
        }
    }

    fn add_moving(&mut self, before: &ServicePort, stays: &ServicePort, after: &World) {
        let new = wanted(after.values());
        for (key, choices) in moving(before, stays) {
            if let Some(allowed) = self.0.get_mut(&key)
                && new.contains_key(&frontend_of(&key))
            {
                allowed.extend(choices.into_iter().map(Some));
            }
        }
    }

    /// Only the choice that it offers now.
    pub fn as_now(now: &State) -> Self {
        let keys = now.frontends.keys().filter(|key| !is_guard(key));
        let keys = keys.flat_map(|key| [*key, outside(key)]);
        Self(keys.map(|key| (key, vec![choice(now, &key)])).collect())
    }

    /// While a writer takes over: a frontend that was moving to another service port goes back to the one that it was leaving,
    /// also for packets from outside.
    pub fn at_a_take_over(now: &State) -> Self {
        let mut this = Self::as_now(now);
        let keys = || now.frontends.keys().filter(|key| !is_guard(key));
        let is_half_moved = |key: &FrontendKey| {
            let outside = owner(now, &outside(key));
            outside.is_some() && outside != owner(now, key)
        };
        for key in keys().filter(|key| is_half_moved(key)) {
            let siblings = keys().filter(|other| owner(now, other) == owner(now, key));
            let whole = siblings.filter(|other| !is_half_moved(other));
            let choices = whole.map(|other| choice(now, &outside(other)));
            let allowed = this.0.entry(outside(key)).or_default();
            allowed.extend(choices.chain([None]));
        }
        this
    }

    /// In full tables, a frontend that leaves a service port may not fit into the next one. The same holds for frontends of a
    /// service port that a starting writer does not recognize, because its ClusterIP has changed.
    pub fn also_gone(mut self, before: &[&World], after: &World) -> Self {
        for left in before.iter().flat_map(|world| world.values()) {
            let stays = after
                .get(&left.key)
                .filter(|stays| cluster_ip(stays) == cluster_ip(left));
            for frontend in &left.frontends {
                if stays.is_none_or(|stays| !stays.frontends.contains(frontend))
                    && let Some(key) = encode::frontend_key(frontend, left.key.protocol)
                {
                    for key in [key, outside(&key)] {
                        self.0.entry(key).and_modify(|allowed| allowed.push(None));
                    }
                }
            }
        }
        self
    }

    /// In full tables, a service port may be reduced: without its Maglev table, without its weights, then to those of its backends
    /// that the tables already contain.
    pub fn also_reduced(mut self, now: &State, before: &[&World], after: &World) -> Self {
        // Or to none, if they contain none.
        let lines = now.backends().skip(1).filter(|line| line.state != 0);
        let ports: BTreeSet<u32> = lines.map(|line| line.service_port).collect();
        let members = ports.into_iter().map(|port| backends(now, port));
        for members in members.chain([BTreeMap::new()]) {
            let mut less = after.clone();
            for port in less.values_mut() {
                port.algorithm = Algorithm::Random;
                port.backends
                    .retain(|backend| members.contains_key(&backend.address));
            }
            // If BACKENDS is full, it is the first reduction; if SLOTS is, the last one.
            self.add_reduced(now, before, after, &less);
            let backends = less.values_mut().flat_map(|port| &mut port.backends);
            backends.for_each(without_weight);
            self.add_reduced(now, before, after, &less);
        }
        let mut less = after.clone();
        less.values_mut()
            .filter(|port| port.algorithm == Algorithm::Maglev)
            .for_each(|port| port.algorithm = Algorithm::Random);
        self.add_reduced(now, before, after, &less);
        let backends = less.values_mut().flat_map(|port| &mut port.backends);
        backends.for_each(without_weight);
        self.add_reduced(now, before, after, &less);
        self
    }

    fn add_reduced(&mut self, now: &State, before: &[&World], after: &World, less: &World) {
        self.add_left_behind(now, less, true);
        for (key, choice) in wanted(less.values()) {
            if let Some(allowed) = self.0.get_mut(&key) {
                allowed.push(Some(choice));
            }
        }
        for left in before.iter().flat_map(|world| world.values()) {
            if let Some(stays) = less.get(&left.key) {
                self.add_moving(left, stays, after);
            }
        }
    }

    pub fn check(&self, state: &State) {
        for key in state.frontends.keys().filter(|key| !is_guard(key)) {
            assert!(self.0.contains_key(key), "{key:?} came from nowhere");
        }
        for (key, allowed) in &self.0 {
            let seen = choice(state, key);
            assert!(
                allowed.contains(&seen),
                "{key:?}: {seen:?} is none of {allowed:?}"
            );
        }
    }
}

fn without_weight(backend: &mut Backend) {
    backend.weight = backend.weight.min(1);
    backend.tenths = FULL_WEIGHT;
}

/// The id of the service port whose view a frontend has. `key`: a frontend's, or the result of [`outside`].
fn owner(state: &State, key: &FrontendKey) -> Option<u32> {
    let view = view_of(state, key)?;
    let words = std::array::from_fn(|word| state.load(Table::Views, view, word));
    let view: View = bytemuck::must_cast::<[u64; View::WORDS], _>(words);
    Some(view.service_port)
}

fn cluster_ip(port: &ServicePort) -> Option<&Frontend> {
    let is_cluster_ip = |frontend: &&Frontend| frontend.kind == FrontendKind::ClusterIp;
    port.frontends.iter().find(is_cluster_ip)
}

/// The frontends that a service port loses, with the choices that they get, in either of its views.
fn moving(
    before: &ServicePort,
    after: &ServicePort,
) -> Vec<(FrontendKey, Vec<BTreeMap<SocketAddr, usize>>)> {
    let lost = before
        .frontends
        .iter()
        .filter(|frontend| !after.frontends.contains(frontend));
    let shown = lost.filter_map(|frontend| {
        let key = encode::frontend_key(frontend, before.key.protocol)?;
        let choices = [FrontendKind::ClusterIp, FrontendKind::ExternalIp].map(|kind| {
            let mut shown = after.clone();
            shown.frontends = vec![frontend.clone()];
            shown.frontends[0].kind = kind;
            wanted([&shown].into_iter())
        });
        Some((
            key,
            choices
                .into_iter()
                .flat_map(BTreeMap::into_values)
                .collect::<Vec<_>>(),
        ))
    });
    shown
        .flat_map(|(key, choices)| [(key, choices.clone()), (outside(&key), choices)])
        .collect()
}

/// Everything that the tables contain about a frontend.
#[derive(Debug, PartialEq, Eq)]
struct Offer {
    choice: Choice,
    kind: u8,
    is_host_only: bool,
    has_source_ranges: bool,
    algorithm: u32,
    affinity_seconds: u32,
    member: u32,
    flags: u32,
    outside: Choice,
    /// The backends of its service port, with their states and weights.
    backends: BTreeMap<SocketAddr, (u64, u16)>,
}

fn offer(state: &State, key: &FrontendKey) -> Option<Offer> {
    let target = state.frontends.get(key)?.read(key.tag())?;
    let words = std::array::from_fn(|word| state.load(Table::FrontendList, target.frontend, word));
    let entry: FrontendEntry = bytemuck::must_cast::<[u64; FrontendEntry::WORDS], _>(words);
    let words = std::array::from_fn(|word| state.load(Table::Views, target.view, word));
    let view: View = bytemuck::must_cast::<[u64; View::WORDS], _>(words);
    Some(Offer {
        choice: choice(state, key),
        kind: entry.kind,
        is_host_only: target.is_host_only,
        has_source_ranges: target.has_source_ranges,
        algorithm: view.algorithm,
        affinity_seconds: view.affinity_seconds,
        member: view.member,
        flags: view.flags,
        outside: choice(state, &outside(key)),
        backends: backends(state, view.service_port),
    })
}

/// The backends of a service port that have a state, with their weights.
fn backends(state: &State, service_port: u32) -> BTreeMap<SocketAddr, (u64, u16)> {
    let mut backends = BTreeMap::new();
    let lines = state.backends().skip(1);
    for line in lines.filter(|line| line.state != 0 && line.service_port == service_port) {
        let address = encode::socket_address(line.address, line.port);
        let weight = line.more_weight.saturating_add(1);
        let before = backends.insert(address, (line.state, weight));
        assert_eq!(before, None, "{address} twice");
    }
    backends
}

fn wanted_offers(port: &ServicePort) -> impl Iterator<Item = (FrontendKey, Offer)> {
    let choices = wanted([port].into_iter());
    let unit = encode::WeightUnit::of(port);
    let views = port.views().into_iter();
    let views = views.filter(|view| view.scope != Scope::Outside);
    views.flat_map(move |view| {
        let role = Role::of(view.scope);
        let line = encode::view_line(
            0,
            role,
            encode::algorithm_number(port.algorithm),
            port.affinity_seconds.unwrap_or(0),
            encode::view_flags(port, &view.backends),
        );
        assert_eq!(role == Role::External, view.scope == Scope::External);
        let offer = |frontend: &&Frontend| {
            let key = encode::frontend_key(frontend, port.key.protocol)?;
            let offer = Offer {
                choice: choices.get(&key).cloned(),
                kind: encode::frontend_kind(frontend.kind),
                is_host_only: frontend.is_host_only(),
                has_source_ranges: port.has_source_ranges(frontend),
                algorithm: line.algorithm,
                affinity_seconds: line.affinity_seconds,
                member: line.member,
                flags: line.flags,
                outside: choices.get(&outside(&key)).cloned(),
                backends: port
                    .backends
                    .iter()
                    .map(|backend| {
                        let state = encode::backend_state(backend);
                        (backend.address, (state, unit.weight(backend)))
                    })
                    .filter(|(_, (state, _))| *state != 0)
                    .collect(),
            };
            Some((key, offer))
        };
        view.frontends.iter().filter_map(offer).collect::<Vec<_>>()
    })
}

/// The tables contain these service ports.
#[cfg(feature = "fuzzing")]
pub fn check_served<'a>(tables: &Tables<Memory>, ports: impl Iterator<Item = &'a ServicePort>) {
    let state = &tables.backing().state;
    for (key, meant) in ports.flat_map(wanted_offers) {
        assert_eq!(offer(state, &key), Some(meant), "{key:?}");
    }
}

/// The tables contain the world, and nothing else.
pub fn check_reads_back(tables: &Tables<Memory>, world: &World) {
    let state = &tables.backing().state;
    let (guards, keys): (Vec<FrontendKey>, Vec<FrontendKey>) =
        state.frontends.keys().partition(|key| is_guard(key));
    let meant: BTreeMap<FrontendKey, Offer> = world.values().flat_map(wanted_offers).collect();
    assert_eq!(keys, meant.keys().copied().collect::<Vec<_>>());
    for (key, meant) in meant {
        assert_eq!(offer(state, &key), Some(meant), "{key:?}");
    }
    let ranges = tables.model.ids.iter().flat_map(|(key, id)| {
        let port = world.get(key);
        port.map(|port| encode::source_ranges(*id, port))
            .into_iter()
            .flatten()
    });
    assert_eq!(state.source_ranges, ranges.collect());

    let lines = state.backends().skip(1);
    let number = lines.filter(|line| line.state != 0).count();
    let with_state = |port: &ServicePort| {
        let states = port.backends.iter().map(encode::backend_state);
        states.filter(|&state| state != 0).count()
    };
    assert_eq!(number, world.values().map(with_state).sum::<usize>());

    let guarded: BTreeSet<_> = guards.iter().map(|key| key.address).collect();
    let cluster_ips = world.values().flat_map(|port| &port.frontends);
    let cluster_ips = cluster_ips
        .filter(|frontend| frontend.kind == FrontendKind::ClusterIp)
        .filter_map(|frontend| frontend.address)
        .map(encode::address);
    assert_eq!(guarded, cluster_ips.collect());
}
