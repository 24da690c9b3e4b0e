//! Where connections may go by our tables, now and some seconds ago.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use super::clients::{Clients, Place};
use crate::catalog::Protocol;
use crate::policy::{Backend, Frontend, FrontendKind, ServicePort, ServicePortKey};

/// An address that clients connect to.
pub type Site = (Protocol, SocketAddr);

/// The frontends and backends of all service ports, with those that they had until lately.
#[derive(Debug, Default)]
pub struct Expected {
    sites: HashMap<Site, Vec<Owner>>,
    ports: HashMap<ServicePortKey, Port>,
    /// The number of service ports with each ClusterIP, and the key of one.
    cluster_ips: HashMap<IpAddr, (usize, ServicePortKey)>,
    /// When what of a service port ended, the oldest first.
    ended: VecDeque<(Instant, ServicePortKey)>,
    clients: Clients,
}

/// A service port that has, or had, a frontend.
#[derive(Clone, Debug)]
struct Owner {
    key: ServicePortKey,
    kind: FrontendKind,
    is_host_only: bool,
    since: Instant,
    /// None: it has the frontend now.
    until: Option<Instant>,
}

#[derive(Debug, Default)]
struct Port {
    frontends: Vec<Frontend>,
    now: Option<Sets>,
    /// Those of before, and until when.
    before: Vec<(Instant, Sets)>,
}

/// The backends of a service port, and which views have them.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Sets {
    /// Sorted by address.
    backends: Arc<[Member]>,
    has_outside: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Member {
    address: SocketAddr,
    internal: bool,
    external: bool,
    outside: bool,
}

/// What our tables say of a flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// The destination is no frontend, nor was it one lately.
    NoFrontend,
    Right(ServicePortKey),
    Wrong {
        port: ServicePortKey,
        /// The backends that we would choose from now.
        backends: Vec<SocketAddr>,
    },
}

impl Expected {
    pub fn set_clients(&mut self, clients: Clients) {
        self.clients = clients;
    }

    /// A service port is new or has changed. Its NodePorts have addresses.
    pub fn change(&mut self, port: &ServicePort, now: Instant) {
        self.replace(&port.key, &port.frontends, Some(Sets::of(port)), now);
    }

    pub fn remove(&mut self, key: &ServicePortKey, now: Instant) {
        self.replace(key, &[], None, now);
    }

    fn replace(
        &mut self,
        key: &ServicePortKey,
        frontends: &[Frontend],
        sets: Option<Sets>,
        now: Instant,
    ) {
        let port = self.ports.entry(key.clone()).or_default();
        let mut has_ended = false;
        if port.now != sets
            && let Some(before) = std::mem::replace(&mut port.now, sets)
        {
            port.before.push((now, before));
            has_ended = true;
        }
        let before = std::mem::replace(&mut port.frontends, frontends.to_vec());
        for frontend in &before {
            if frontends.binary_search(frontend).is_ok() {
                continue;
            }
            if let Some(site) = site(key, frontend)
                && let Some(owners) = self.sites.get_mut(&site)
            {
                let owners = owners.iter_mut();
                owners
                    .filter(|owner| owner.key == *key && owner.until.is_none())
                    .for_each(|owner| owner.until = Some(now));
                has_ended = true;
            }
            leave(&mut self.cluster_ips, frontend);
        }
        for frontend in frontends {
            if before.binary_search(frontend).is_ok() {
                continue;
            }
            if let Some(site) = site(key, frontend) {
                self.sites.entry(site).or_default().push(Owner {
                    key: key.clone(),
                    kind: frontend.kind,
                    is_host_only: frontend.is_host_only(),
                    since: now,
                    until: None,
                });
            }
            if let (FrontendKind::ClusterIp, Some(address)) = (frontend.kind, frontend.address) {
                let of = self.cluster_ips.entry(address);
                of.or_insert_with(|| (0, key.clone())).0 += 1;
            }
        }
        if has_ended {
            self.ended.push_back((now, key.clone()));
        }
    }

    /// Forgets what ended before this moment. Returns the service ports of which nothing is left.
    pub fn forget(&mut self, before: Instant) -> Vec<ServicePortKey> {
        let mut gone = Vec::new();
        if self.ended.front().is_none_or(|(at, _)| *at >= before) {
            return gone;
        }
        while self.ended.front().is_some_and(|(at, _)| *at < before) {
            let Some((_, key)) = self.ended.pop_front() else {
                break;
            };
            let Some(port) = self.ports.get_mut(&key) else {
                continue;
            };
            port.before.retain(|(until, _)| *until >= before);
            if port.now.is_none() && port.before.is_empty() {
                self.ports.remove(&key);
                gone.push(key);
            }
        }
        self.sites.retain(|_, owners| {
            owners.retain(|owner| owner.until.is_none_or(|until| until >= before));
            !owners.is_empty()
        });
        gone
    }

    /// Whether a service port is there, or was until lately.
    pub fn has(&self, key: &ServicePortKey) -> bool {
        self.ports.contains_key(key)
    }

    /// The service port that has an address as a ClusterIP.
    pub fn with_cluster_ip(&self, address: IpAddr) -> Option<&ServicePortKey> {
        self.cluster_ips.get(&address).map(|(_, key)| key)
    }

    /// Judges a flow by what holds now or has held since a moment.
    ///
    /// `answers`: the address of the endpoint; `site`'s own if the flow is not translated.
    pub fn judge(
        &self,
        site: Site,
        client: IpAddr,
        answers: SocketAddr,
        since: Instant,
    ) -> Judgement {
        let is_considered = |owner: &&Owner| owner.until.is_none_or(|until| until >= since);
        let owners = self.sites.get(&site).into_iter().flatten();
        let owners = owners.filter(is_considered);
        let mut last = None;
        for owner in owners {
            let Some(port) = self.ports.get(&owner.key) else {
                continue;
            };
            let before = port.before.iter();
            let before = before.filter(|(until, _)| *until >= since);
            let mut sets = before.map(|(_, sets)| sets).chain(&port.now);
            let is_right = if answers == site.1 {
                // Before the frontend was ours, and after, we do not translate either.
                owner.since >= since
                    || owner.until.is_some()
                    || sets.any(|sets| self.choices(owner, sets, client).next().is_none())
            } else {
                sets.any(|sets| self.choices(owner, sets, client).any(|at| at == answers))
            };
            if is_right {
                return Judgement::Right(owner.key.clone());
            }
            last = Some((owner, port));
        }
        let Some((owner, port)) = last else {
            return Judgement::NoFrontend;
        };
        let now = port.now.iter();
        Judgement::Wrong {
            port: owner.key.clone(),
            backends: now
                .flat_map(|sets| self.choices(owner, sets, client))
                .collect(),
        }
    }

    /// The backends that this client may get at a frontend of the owner.
    fn choices<'a>(
        &self,
        owner: &Owner,
        sets: &'a Sets,
        client: IpAddr,
    ) -> impl Iterator<Item = SocketAddr> + use<'a> {
        let is_internal = owner.kind == FrontendKind::ClusterIp;
        let may_be_outside = !is_internal && !owner.is_host_only && sets.has_outside;
        let place = match may_be_outside {
            true => self.clients.place(client),
            false => Place::Inside,
        };
        let members = sets.backends.iter().filter(move |member| match place {
            Place::Inside if is_internal => member.internal,
            Place::Inside => member.external,
            Place::Outside => member.outside,
            Place::Unknown => member.external || member.outside,
        });
        members.map(|member| member.address)
    }
}

impl Sets {
    fn of(port: &ServicePort) -> Self {
        let member = |backend: &Backend| Member {
            address: backend.address,
            internal: backend.internal,
            external: backend.external,
            outside: backend.outside,
        };
        Self {
            backends: port.backends.iter().map(member).collect(),
            has_outside: port.external_local,
        }
    }
}

fn site(key: &ServicePortKey, frontend: &Frontend) -> Option<Site> {
    let at = SocketAddr::new(frontend.address?, frontend.port);
    Some((key.protocol, at))
}

fn leave(cluster_ips: &mut HashMap<IpAddr, (usize, ServicePortKey)>, frontend: &Frontend) {
    let (FrontendKind::ClusterIp, Some(address)) = (frontend.kind, frontend.address) else {
        return;
    };
    if let Some((number, _)) = cluster_ips.get_mut(&address) {
        *number -= 1;
        if *number == 0 {
            cluster_ips.remove(&address);
        }
    }
}
