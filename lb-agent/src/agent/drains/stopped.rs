//! One backend that has stopped serving, and its connections.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::schedule::{end_after, pause};
use crate::policy::ServicePortKey;

/// How often to try to end a connection.
const MOST_TRIES: u32 = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// None: no drain.
    pub grace: Option<Duration>,
    /// The service port has a backend with this address again.
    pub has_returned: bool,
}

/// What to do with a connection now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Kept,
    /// It ends as without a drain.
    AtOnce,
    Later,
    /// Its time has come.
    Due,
}

#[derive(Debug)]
pub(super) struct Stopped {
    /// None if its service port is not known: an earlier agent has removed it.
    pub(super) port: Option<ServicePortKey>,
    pub(super) address: SocketAddr,
    drain: Option<Drain>,
}

#[derive(Debug)]
struct Drain {
    since: Instant,
    grace: Duration,
    /// All that there were.
    connections: usize,
    /// By cookie: how often it was tried to end them.
    left: HashMap<u64, u32>,
    /// Ended by the agent. Their entries stay until their owners close them.
    ended: HashSet<u64>,
    is_over: bool,
}

/// Why a drain is over.
#[derive(Clone, Copy, Debug)]
enum Reason {
    /// All connections have ended, or were tried to be.
    Done,
    /// The backend serves again.
    Returned,
    /// The Service asks for it no longer.
    Off,
}

impl Stopped {
    pub(super) const fn new(port: Option<ServicePortKey>, address: SocketAddr) -> Self {
        Self {
            port,
            address,
            drain: None,
        }
    }

    /// Decides what to do with its connections, and when to look again.
    ///
    /// `without`: what happens to them without a drain.
    pub(super) fn look(
        &mut self,
        now: Instant,
        rule: Rule,
        cookies: impl Iterator<Item = u64>,
        without: Fate,
        fates: &mut HashMap<u64, Fate>,
    ) -> Option<Instant> {
        let fate = match rule.grace {
            Some(grace) if !rule.has_returned && !grace.is_zero() => {
                return self.drain(now, grace, cookies, fates);
            }
            Some(_) if rule.has_returned => Fate::Kept,
            Some(_) => Fate::AtOnce,
            None => without,
        };
        self.finish(
            now,
            match rule.has_returned {
                true => Reason::Returned,
                false => Reason::Off,
            },
        );
        self.drain = None;
        fates.extend(cookies.map(|cookie| (cookie, fate)));
        None
    }

    fn drain(
        &mut self,
        now: Instant,
        grace: Duration,
        cookies: impl Iterator<Item = u64>,
        fates: &mut HashMap<u64, Fate>,
    ) -> Option<Instant> {
        let is_new = self.drain.is_none();
        let drain = self.drain.get_or_insert_with(|| Drain {
            since: now,
            grace,
            connections: 0,
            left: HashMap::new(),
            ended: HashSet::new(),
            is_over: false,
        });
        drain.grace = grace;
        let next = drain.look(now, cookies, fates);
        let connections = drain.connections;
        let is_done = drain.left.values().all(|tries| *tries >= MOST_TRIES) && next.is_none();
        if is_new {
            self.log_begin(connections, grace);
        }
        if is_done {
            self.finish(now, Reason::Done);
        }
        next
    }

    /// No connection names it any more.
    pub(super) fn all_closed(&mut self, now: Instant) {
        if let Some(drain) = &mut self.drain {
            drain.left.clear();
        }
        self.finish(now, Reason::Done);
    }

    /// A connection was ended. Returns whether it belonged to the drain.
    pub(super) fn ended(&mut self, now: Instant, cookie: u64) -> bool {
        let Some(drain) = &mut self.drain else {
            return false;
        };
        if drain.left.remove(&cookie).is_none() {
            return false;
        }
        drain.ended.insert(cookie);
        let of_drain = !drain.is_over;
        if drain.left.is_empty() {
            self.finish(now, Reason::Done);
        }
        of_drain
    }

    /// The connections that drain, if any do.
    pub(super) fn left(&self) -> Option<usize> {
        let drain = self.drain.as_ref().filter(|drain| !drain.is_over);
        drain.map(|drain| drain.left.len())
    }

    /// The Service's namespace, its name, and the name of the port.
    fn names(&self) -> [Option<&str>; 3] {
        match &self.port {
            Some(port) => [&port.namespace, &port.name, &port.port].map(|name| Some(&**name)),
            None => [None; 3],
        }
    }

    fn log_begin(&self, connections: usize, grace: Duration) {
        let [namespace, service, port] = self.names();
        tracing::info!(
            event = "backend.draining",
            namespace,
            service,
            port,
            backend = %self.address,
            connections,
            seconds = grace.as_secs(),
            "a backend has stopped serving: its connections end within the drain time",
        );
    }

    fn finish(&mut self, now: Instant, reason: Reason) {
        let Some(drain) = self.drain.as_mut().filter(|drain| !drain.is_over) else {
            return;
        };
        drain.is_over = true;
        let (ended, left) = (drain.ended.len(), drain.left.len());
        let closed = drain.connections.saturating_sub(ended + left);
        let elapsed = now.saturating_duration_since(drain.since);
        let [namespace, service, port] = self.names();
        tracing::info!(
            event = "backend.drained",
            namespace,
            service,
            port,
            backend = %self.address,
            ended,
            closed,
            left,
            reason = match reason {
                Reason::Done => "Done",
                Reason::Returned => "Returned",
                Reason::Off => "Off",
            },
            elapsed_seconds = elapsed.as_secs_f64(),
            "a backend that has stopped serving no longer drains",
        );
    }
}

impl Drain {
    fn look(
        &mut self,
        now: Instant,
        cookies: impl Iterator<Item = u64>,
        fates: &mut HashMap<u64, Fate>,
    ) -> Option<Instant> {
        let soonest = now + pause(self.grace);
        let mut next: Option<Instant> = None;
        let mut before = std::mem::take(&mut self.left);
        for cookie in cookies {
            if self.ended.contains(&cookie) {
                fates.insert(cookie, Fate::Kept);
                continue;
            }
            let tries = before.remove(&cookie);
            self.connections += usize::from(tries.is_none());
            let tries = tries.unwrap_or_default();
            let due = self.since + end_after(self.grace, cookie);
            let (fate, tries) = match due <= now {
                _ if self.is_over => (Fate::AtOnce, tries),
                true if tries < MOST_TRIES => (Fate::Due, tries + 1),
                _ => (Fate::Later, tries),
            };
            self.left.insert(cookie, tries);
            fates.insert(cookie, fate);
            let again = match fate {
                Fate::Due => Some(soonest),
                Fate::Later if due > now => Some(due.max(soonest)),
                _ => None,
            };
            next = next.into_iter().chain(again).min();
        }
        next
    }
}
