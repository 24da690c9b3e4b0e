//! TCP connections that end some time after their backend has stopped serving (`socklb.dev/drain`).
//!
//! [`Drains`] remembers since when a backend has stopped, [`schedule`] says when each of its connections ends, and
//! [`super::terminator`] looks and ends them. None of this outlives the agent: the next agent starts each grace again.
//!
//! A backend that serves again keeps its connections, although its line in the tables is a new one: its readiness may have
//! failed for a moment only.

mod metrics;
mod schedule;
mod stopped;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

pub use self::metrics::{DrainMetrics, Draining};
use self::stopped::Stopped;
pub use self::stopped::{Fate, Rule};
use crate::policy::ServicePortKey;
use crate::tables::Stale;

/// The longest time between two looks while connections drain, to notice those that have ended by themselves.
const LOOK: Duration = Duration::from_secs(5);

/// What the Services say about a stopped backend.
pub trait Rules {
    /// The service port of a backend.
    ///
    /// `service_port`: the id that its service port had.
    fn name(&self, backend: u32, service_port: u32) -> Option<ServicePortKey>;

    fn rule(&self, backend: u32, port: Option<&ServicePortKey>, address: SocketAddr) -> Rule;
}

/// The stopped backends that connections name.
#[derive(Debug)]
pub struct Drains {
    /// Connections without a drain end at once (`--terminate-tcp`).
    terminates: bool,
    /// By the backend's id.
    stopped: HashMap<u32, Stopped>,
}

impl Drains {
    pub fn new(terminates: bool) -> Self {
        Self {
            terminates,
            stopped: HashMap::new(),
        }
    }

    /// Decides what to do with connections, by their cookies, and when to look again.
    ///
    /// `stale`: all TCP connections whose backends have stopped.
    pub fn look(
        &mut self,
        now: Instant,
        stale: &[Stale],
        rules: &impl Rules,
    ) -> (HashMap<u64, Fate>, Option<Instant>) {
        let mut seen: HashMap<u32, Vec<&Stale>> = HashMap::new();
        for connection in stale {
            let of_backend = seen.entry(connection.pair.backend).or_default();
            of_backend.push(connection);
        }
        self.stopped.retain(|id, stopped| {
            let first = seen.get(id).and_then(|of| of.first());
            let is_it = first.is_some_and(|first| first.peer == stopped.address);
            if !is_it {
                stopped.all_closed(now);
            }
            is_it
        });
        let mut fates = HashMap::with_capacity(stale.len());
        let mut next = None;
        for (id, connections) in seen {
            let Some(first) = connections.first() else {
                continue;
            };
            let stopped = self.stopped.entry(id).or_insert_with(|| {
                let port = rules.name(id, first.service_port);
                Stopped::new(port, first.peer)
            });
            let rule = rules.rule(id, stopped.port.as_ref(), stopped.address);
            let cookies = connections.iter().map(|connection| connection.cookie);
            let without = match self.terminates {
                true => Fate::AtOnce,
                false => Fate::Kept,
            };
            let due = stopped.look(now, rule, cookies, without, &mut fates);
            next = next.into_iter().chain(due).min();
        }
        (fates, next.map(|next: Instant| next.min(now + LOOK)))
    }

    /// A connection was ended. Returns whether its time had come.
    pub fn ended(&mut self, now: Instant, connection: &Stale) -> bool {
        let stopped = self.stopped.get_mut(&connection.pair.backend);
        stopped.is_some_and(|stopped| stopped.ended(now, connection.cookie))
    }

    #[must_use]
    pub fn draining(&self) -> Draining {
        let left = self.stopped.values().filter_map(Stopped::left);
        left.fold(Draining::default(), |sum, left| Draining {
            backends: sum.backends + 1,
            connections: sum.connections + left,
        })
    }
}
