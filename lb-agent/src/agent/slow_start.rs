//! Slow start (`socklb.dev/slow-start`): the weight of a backend that comes grows over a time, in steps.
//!
//! The state is in memory only: for an agent that has just started, no backend is new.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::policy::{Backend, FULL_WEIGHT, ServicePort, ServicePortKey, Update};

/// The service ports with slow start, and the backends that are starting.
#[derive(Debug, Default)]
pub struct SlowStart {
    ports: HashMap<ServicePortKey, Known>,
    /// Those with a backend that is starting.
    starting: BTreeSet<ServicePortKey>,
}

/// A service port's backends.
#[derive(Debug)]
struct Known {
    takes: Duration,
    /// Those that a view has.
    backends: BTreeMap<SocketAddr, Option<Start>>,
}

/// The start of a backend that is not over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Start {
    began: Instant,
    /// The tenths of its weight that are in effect.
    tenths: u8,
}

impl SlowStart {
    /// Reduces the weights of backends that are starting.
    pub fn take(&mut self, update: &mut Update, now: Instant) {
        for key in &update.removed {
            self.ports.remove(key);
            self.starting.remove(key);
        }
        for port in &mut update.changed {
            self.take_port(port, now);
        }
    }

    /// The service ports with a backend whose share has grown since [`Self::take`].
    pub fn due(&self, now: Instant) -> Vec<ServicePortKey> {
        let is_due = |key: &&ServicePortKey| {
            self.ports.get(key).is_some_and(|known| {
                let starts = known.backends.values().flatten();
                let mut grown =
                    starts.filter(|start| start.tenths < known.tenths(start.began, now));
                grown.next().is_some()
            })
        };
        self.starting.iter().filter(is_due).cloned().collect()
    }

    /// Gives a service port's backends the weights that are in effect.
    pub fn show(&self, port: &mut ServicePort) {
        if let Some(known) = self.ports.get(&port.key) {
            known.set(port);
        }
    }

    /// In tenths of its weight.
    #[must_use]
    pub fn share_of(&self, port: &ServicePortKey, backend: SocketAddr) -> u8 {
        let start = self.ports.get(port).map(|known| known.start(backend));
        start.flatten().map_or(FULL_WEIGHT, |start| start.tenths)
    }

    fn take_port(&mut self, port: &mut ServicePort, now: Instant) {
        self.starting.remove(&port.key);
        let before = self.ports.remove(&port.key);
        let Some(takes) = port.slow_start else {
            return;
        };
        let mut known = Known {
            takes,
            backends: BTreeMap::new(),
        };
        for backend in port.backends.iter().filter(|backend| is_chosen(backend)) {
            let address = backend.address;
            let is_new = |before: &Known| !before.backends.contains_key(&address);
            let began = match &before {
                // All that a Service has when it is first seen are old.
                None => None,
                // One that gets connections from another zone has those of its own.
                Some(before) if is_new(before) && port.spills_to(address) => None,
                Some(before) if is_new(before) => Some(now),
                Some(before) => before.start(address).map(|start| start.began),
            };
            let start = began.map(|began| Start {
                began,
                tenths: known.tenths(began, now),
            });
            let start = start.filter(|start| start.tenths < FULL_WEIGHT);
            known.backends.insert(address, start);
        }
        known.set(port);
        if known.backends.values().any(Option::is_some) {
            self.starting.insert(port.key.clone());
        }
        self.ports.insert(port.key.clone(), known);
    }
}

impl Known {
    fn start(&self, backend: SocketAddr) -> Option<Start> {
        self.backends.get(&backend).copied().flatten()
    }

    /// The tenths of its weight that a backend should have now, at least one.
    fn tenths(&self, began: Instant, now: Instant) -> u8 {
        let elapsed = now.saturating_duration_since(began).as_millis();
        let tenths = elapsed * u128::from(FULL_WEIGHT) / self.takes.as_millis().max(1);
        u8::try_from(tenths)
            .unwrap_or(FULL_WEIGHT)
            .clamp(1, FULL_WEIGHT)
    }

    fn set(&self, port: &mut ServicePort) {
        for backend in &mut port.backends {
            let start = self.start(backend.address);
            backend.tenths = start.map_or(FULL_WEIGHT, |start| start.tenths);
        }
    }
}

const fn is_chosen(backend: &Backend) -> bool {
    backend.internal || backend.external || backend.outside
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::SpillOver;
    use crate::tables::testing::world::{backend, port};

    const TAKES: Duration = Duration::from_secs(30);

    /// A service port, and a clock that only the test moves.
    struct Clock {
        slow_start: SlowStart,
        now: Instant,
    }

    impl Clock {
        fn new() -> Self {
            Self {
                slow_start: SlowStart::default(),
                now: Instant::now(),
            }
        }

        /// The tenths of the backends of this update.
        fn update(&mut self, slow_start: Option<Duration>, backends: &[u8]) -> Vec<u8> {
            let mut changed = port(1, backends.iter().copied().map(backend).collect());
            changed.slow_start = slow_start;
            let mut update = Update {
                changed: vec![changed],
                ..Update::default()
            };
            self.slow_start.take(&mut update, self.now);
            let backends = update.changed[0].backends.iter();
            backends.map(|backend| backend.tenths).collect()
        }

        fn set(&mut self, backends: &[u8]) -> Vec<u8> {
            self.update(Some(TAKES), backends)
        }

        fn is_due_after(&mut self, millis: u64) -> bool {
            self.now += Duration::from_millis(millis);
            !self.slow_start.due(self.now).is_empty()
        }
    }

    #[test]
    fn the_share_of_a_new_backend_grows_in_tenths() {
        let mut clock = Clock::new();
        assert_eq!(clock.set(&[1]), [10], "the Service is new, not the backend");
        assert_eq!(clock.set(&[1, 2]), [10, 1]);
        assert!(!clock.is_due_after(5_999));
        assert!(clock.is_due_after(1));
        assert_eq!(clock.set(&[1, 2]), [10, 2]);
        for tenths in 3..=9 {
            assert!(!clock.is_due_after(2_999));
            assert!(clock.is_due_after(1));
            assert_eq!(clock.set(&[1, 2]), [10, tenths]);
        }
        assert!(clock.is_due_after(3_000));
        assert_eq!(clock.set(&[1, 2]), [10, 10]);
        assert!(clock.slow_start.starting.is_empty());
        assert!(!clock.is_due_after(1_000_000));
    }

    #[test]
    fn a_backend_that_comes_back_starts_again() {
        let mut clock = Clock::new();
        clock.set(&[1, 2]);
        clock.set(&[1]);
        assert_eq!(clock.set(&[1, 2]), [10, 1]);
        clock.now += TAKES;
        assert_eq!(clock.set(&[1, 2]), [10, 10]);
    }

    #[test]
    fn without_the_annotation_nothing_is_remembered() {
        let mut clock = Clock::new();
        clock.update(None, &[1]);
        assert_eq!(clock.update(None, &[1, 2]), [10, 10]);
        // Those that are there when it comes are old.
        assert_eq!(clock.set(&[1, 2]), [10, 10]);
        assert_eq!(clock.set(&[1, 2, 3]), [10, 10, 1]);
        assert_eq!(clock.update(None, &[1, 2, 3]), [10, 10, 10]);
        assert!(clock.slow_start.ports.is_empty());
        assert!(!clock.is_due_after(1_000_000));
    }

    #[test]
    fn a_backend_in_another_zone_is_not_new_when_connections_spill_over_to_it() {
        let mut clock = Clock::new();
        clock.set(&[1, 2]);
        let mut spilling = port(1, vec![backend(1), backend(3)]);
        spilling.slow_start = Some(TAKES);
        let to = vec![backend(3).address];
        spilling.spill_over = Some(Box::new(SpillOver { percent: 30, to }));
        let mut update = Update {
            changed: vec![spilling],
            ..Update::default()
        };
        clock.slow_start.take(&mut update, clock.now);
        let backends = &update.changed[0].backends;
        assert!(backends.iter().all(|of| of.tenths == FULL_WEIGHT));
        // One of this zone is, when it is ready again.
        assert_eq!(clock.set(&[1, 2]), [10, 1]);
    }

    #[test]
    fn a_removed_service_port_is_forgotten() {
        let mut clock = Clock::new();
        clock.set(&[1]);
        clock.set(&[1, 2]);
        let mut update = Update {
            removed: vec![port(1, Vec::new()).key],
            ..Update::default()
        };
        clock.slow_start.take(&mut update, clock.now);
        assert!(!clock.is_due_after(1_000_000));
        assert_eq!(clock.set(&[1, 2]), [10, 10]);
    }

    #[test]
    fn the_shares_in_effect_are_shown() {
        let mut clock = Clock::new();
        clock.set(&[1]);
        clock.set(&[1, 2]);
        clock.now += TAKES;
        let mut shown = port(1, vec![backend(1), backend(2)]);
        clock.slow_start.show(&mut shown);
        let tenths: Vec<u8> = shown.backends.iter().map(|of| of.tenths).collect();
        assert_eq!(tenths, [10, 1]);
        let share = |n: u8| clock.slow_start.share_of(&shown.key, backend(n).address);
        assert_eq!((share(1), share(2), share(3)), (10, 1, 10));
    }
}
