//! The node's pods, which of them are served, and the cookies of their network namespaces. Knows nothing of the kernel.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use lb_common::client::{NOT_SERVED, SELECTION, SERVED};

use crate::catalog::{Change, Kind, ObjectName, Pods, Problem};
use crate::policy::{ClientSelection, NotServed, annotation_problems};

/// The node's pods, for an agent that selects them.
#[derive(Debug)]
pub struct PodTracker {
    selection: ClientSelection,
    /// The cookie of the host's network namespace.
    host: u64,
    pods: Pods,
    known: BTreeMap<ObjectName, KnownPod>,
}

#[derive(Debug)]
struct KnownPod {
    uid: Arc<str>,
    /// Why its sockets are left alone; none: they are balanced.
    why_not: Option<NotServed>,
    is_in_host_network: bool,
    /// Of its network namespace as last found. It stays when no process is there: the next container starts in the same one.
    cookie: Option<u64>,
    /// Its network namespace may be another one now.
    is_due: bool,
    /// Of its annotations.
    problems: Vec<Problem>,
    /// As last logged.
    logged: Option<PodState>,
}

/// What the hooks do with the sockets of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodState {
    Served,
    NotServed,
    /// It is to be served, and its network namespace has not been found.
    NotFound,
    /// It is in the host's network.
    HostNetwork,
}

/// How many pods are in each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PodCounts {
    pub served: usize,
    pub not_served: usize,
    pub not_found: usize,
    pub host_network: usize,
}

impl PodTracker {
    /// `host`: the cookie of the host's network namespace.
    pub fn new(selection: ClientSelection, node_name: &str, host: u64) -> Self {
        Self {
            selection,
            host,
            pods: Pods::new(node_name),
            known: BTreeMap::new(),
        }
    }

    pub const fn selection(&self) -> &ClientSelection {
        &self.selection
    }

    /// Takes the changes of pods and namespaces out of these. Call [`Self::update`] once every kind was listed.
    pub fn learn(&mut self, changes: &mut Vec<Change>) {
        let is_ours = |change: &mut Change| matches!(change.kind(), Kind::Pod | Kind::Namespace);
        for change in changes.extract_if(.., is_ours) {
            self.pods.apply(change);
        }
    }

    /// Decides again about the pods that changes have touched. Returns whether there were any.
    pub fn update(&mut self) -> bool {
        let touched = self.pods.take_touched();
        for name in &touched {
            let Some(pod) = self.pods.pod(name) else {
                self.known.remove(name);
                continue;
            };
            let is_in_host_network = pod.spec.host_network;
            let why_not = match is_in_host_network {
                true => self.selection.why_not_host(),
                false => {
                    let namespace = self.pods.namespace(&name.namespace);
                    self.selection.why_not(pod, namespace)
                }
            };
            let uid = Arc::clone(pod.cgroup_uid());
            // Another pod may have the name now.
            let before = self.known.remove(name).filter(|known| known.uid == uid);
            let known = KnownPod {
                uid,
                why_not,
                is_in_host_network,
                is_due: !is_in_host_network,
                cookie: before.as_ref().and_then(|known| known.cookie),
                problems: annotation_problems(pod),
                logged: before.and_then(|known| known.logged),
            };
            self.known.insert(name.clone(), known);
        }
        self.log();
        !touched.is_empty()
    }

    /// Whether a pod's network namespace may have changed.
    pub fn has_due(&self) -> bool {
        self.known.values().any(|pod| pod.is_due)
    }

    /// Whether a pod's network namespace has not been found.
    pub fn has_missing(&self) -> bool {
        self.known.values().any(KnownPod::is_missing)
    }

    /// All pods are due.
    pub fn suspect_all(&mut self) {
        for pod in self.known.values_mut() {
            pod.is_due = !pod.is_in_host_network;
        }
    }

    /// The UIDs of the pods whose network namespaces are to be searched for.
    pub fn begin_search(&mut self) -> HashSet<Arc<str>> {
        let mut uids = HashSet::new();
        for pod in self.known.values_mut() {
            let is_due = std::mem::take(&mut pod.is_due);
            if (is_due || pod.is_missing()) && !pod.uid.is_empty() {
                uids.insert(Arc::clone(&pod.uid));
            }
        }
        uids
    }

    /// Takes the result of a search. Returns whether it has anything new.
    pub fn end_search(&mut self, found: &HashMap<Arc<str>, u64>) -> bool {
        let mut is_new = false;
        for pod in self.known.values_mut() {
            let cookie = found.get(&pod.uid).filter(|cookie| **cookie != self.host);
            if let Some(&cookie) = cookie
                && !pod.is_in_host_network
                && pod.cookie.replace(cookie) != Some(cookie)
            {
                is_new = true;
            }
        }
        self.log();
        is_new
    }

    /// What CLIENTS is to contain.
    pub fn contents(&self) -> HashMap<u64, u64> {
        let value = |why_not: Option<NotServed>| match why_not {
            None => SERVED,
            Some(_) => NOT_SERVED,
        };
        let host = value(self.selection.why_not_host());
        let selection = (SELECTION, self.selection.fingerprint());
        let mut contents = HashMap::from([selection, (self.host, host)]);
        for pod in self.known.values() {
            if let Some(cookie) = pod.cookie {
                let value = value(pod.why_not);
                // No two pods share a namespace. If they did, it would be left alone if one of them is.
                let element = contents.entry(cookie).or_insert(value);
                *element = value.min(*element);
            }
        }
        contents
    }

    pub fn counts(&self) -> PodCounts {
        let number = |state| {
            self.known
                .values()
                .filter(|pod| pod.state() == state)
                .count()
        };
        PodCounts {
            served: number(PodState::Served),
            not_served: number(PodState::NotServed),
            not_found: number(PodState::NotFound),
            host_network: number(PodState::HostNetwork),
        }
    }

    /// The pods in this state.
    pub fn names(&self, state: PodState) -> impl Iterator<Item = &ObjectName> {
        let pods = self
            .known
            .iter()
            .filter(move |(_, pod)| pod.state() == state);
        pods.map(|(name, _)| name)
    }

    /// Problems with annotations.
    pub fn problems(&self) -> impl Iterator<Item = &Problem> {
        self.known.values().flat_map(|pod| &pod.problems)
    }

    /// Why the sockets in a network namespace are left alone, as the rest of a sentence; none: they are balanced.
    pub fn why_not(&self, cookie: u64) -> Option<String> {
        if cookie == self.host {
            let why_not = self.selection.why_not_host();
            return why_not.map(|why| format!("the agent leaves the client alone, since {why}"));
        }
        let pod = self
            .known
            .iter()
            .find(|(_, pod)| pod.cookie == Some(cookie));
        let Some((name, pod)) = pod else {
            return Some(
                "the client's network namespace is that of no pod that the agent has found"
                    .to_owned(),
            );
        };
        pod.why_not
            .map(|why| format!("the agent leaves the sockets of pod {name} alone, since {why}"))
    }

    /// Logs the states that have changed.
    fn log(&mut self) {
        for (name, pod) in &mut self.known {
            let state = pod.state();
            let before = pod.logged.replace(state);
            if before == Some(state) {
                continue;
            }
            let reason = pod.why_not.map(|why| why.to_string());
            if before.is_some_and(|before| before != PodState::NotFound) {
                tracing::info!(
                    event = "pods.changed",
                    pod = %name,
                    state = state.word(),
                    reason,
                    "the hooks treat the sockets of a pod in another way now",
                );
            } else {
                tracing::debug!(
                    event = "pods.noticed",
                    pod = %name,
                    state = state.word(),
                    reason,
                    "a pod is new, or its network namespace has been found",
                );
            }
        }
    }
}

impl KnownPod {
    const fn is_missing(&self) -> bool {
        self.cookie.is_none() && !self.is_in_host_network
    }

    const fn state(&self) -> PodState {
        match (self.is_in_host_network, self.why_not, self.cookie) {
            (true, ..) => PodState::HostNetwork,
            (false, Some(_), _) => PodState::NotServed,
            (false, None, Some(_)) => PodState::Served,
            (false, None, None) => PodState::NotFound,
        }
    }
}

impl PodState {
    pub const ALL: [Self; 4] = [
        Self::Served,
        Self::NotServed,
        Self::NotFound,
        Self::HostNetwork,
    ];

    /// As in metrics.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Served => "served",
            Self::NotServed => "not_served",
            Self::NotFound => "not_found",
            Self::HostNetwork => "host_network",
        }
    }
}

impl PodCounts {
    pub const fn of(&self, state: PodState) -> usize {
        match state {
            PodState::Served => self.served,
            PodState::NotServed => self.not_served,
            PodState::NotFound => self.not_found,
            PodState::HostNetwork => self.host_network,
        }
    }
}
