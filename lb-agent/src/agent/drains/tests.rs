//! Drains with a clock that the test moves.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use lb_common::Pair;
use tokio::time::Instant;

use super::{Draining, Drains, Fate, Rule, Rules};
use crate::policy::ServicePortKey;
use crate::tables::Stale;

const GRACE: Duration = Duration::from_secs(30);

/// All stopped backends have this rule.
struct Fake(RefCell<Rule>);

impl Fake {
    fn new() -> Self {
        Self(RefCell::new(Rule {
            grace: Some(GRACE),
            has_returned: false,
        }))
    }

    fn set(&self, grace: Option<Duration>, has_returned: bool) {
        *self.0.borrow_mut() = Rule {
            grace,
            has_returned,
        };
    }
}

impl Rules for Fake {
    fn name(&self, _: u32, _: u32) -> Option<ServicePortKey> {
        None
    }

    fn rule(&self, _: u32, _: Option<&ServicePortKey>, _: SocketAddr) -> Rule {
        *self.0.borrow()
    }
}

/// A clock, and the connections that there are.
struct Case {
    drains: Drains,
    rules: Fake,
    began: Instant,
    now: Instant,
    open: BTreeSet<u64>,
    backend: u32,
}

impl Case {
    fn new(open: u64, terminates: bool) -> Self {
        let now = Instant::now();
        Self {
            drains: Drains::new(terminates),
            rules: Fake::new(),
            began: now,
            now,
            open: (1..=open).collect(),
            backend: 7,
        }
    }

    fn stale(&self, cookie: u64) -> Stale {
        Stale {
            cookie,
            pair: Pair {
                frontend: 3,
                backend: self.backend,
                has_flows: false,
            },
            protocol: lb_common::TCP,
            peer: SocketAddr::from(([10, 244, 0, 1], 8080)),
            service_port: 5,
        }
    }

    /// The connections with this fate, and when to look again.
    fn look(&mut self, wanted: Fate) -> (BTreeSet<u64>, Option<Instant>) {
        let stale: Vec<Stale> = self.open.iter().map(|cookie| self.stale(*cookie)).collect();
        let (fates, next) = self.drains.look(self.now, &stale, &self.rules);
        assert_eq!(fates.len(), stale.len());
        let of = fates.into_iter().filter(|(_, fate)| *fate == wanted);
        (of.map(|(cookie, _)| cookie).collect(), next)
    }

    /// Ends a connection. Its owner closes it if so wanted.
    fn end(&mut self, cookie: u64, closes: bool) -> bool {
        if closes {
            self.open.remove(&cookie);
        }
        let stale = self.stale(cookie);
        self.drains.ended(self.now, &stale)
    }

    /// Looks whenever it is due until nothing drains. Ends what is due. Returns when each connection was ended.
    fn run(&mut self, closes: bool) -> Vec<Duration> {
        let mut times = Vec::new();
        loop {
            let (due, next) = self.look(Fate::Due);
            for cookie in due {
                assert!(self.end(cookie, closes));
                times.push(self.now - self.began);
            }
            let Some(next) = next else {
                return times;
            };
            assert!(next > self.now);
            self.now = next;
        }
    }
}

#[test]
fn connections_end_in_the_second_half_of_the_grace_and_not_all_at_once() {
    for closes in [true, false] {
        let mut case = Case::new(200, false);
        let times = case.run(closes);
        assert_eq!(times.len(), 200);
        let late = Duration::from_millis(250);
        assert!(
            times
                .iter()
                .all(|at| *at >= GRACE / 2 && *at <= GRACE + late)
        );
        for quarter in 4..8 {
            let within = GRACE * quarter / 8..GRACE * (quarter + 1) / 8;
            let count = times.iter().filter(|at| within.contains(*at)).count();
            assert!((40..=60).contains(&count), "{quarter}: {count}");
        }
        assert_eq!(case.drains.draining(), Draining::default());
    }
}

#[test]
fn looks_are_rare() {
    for (seconds, most) in [(3, 20), (30, 80), (3_600, 800)] {
        let mut case = Case::new(1_000, false);
        let grace = Duration::from_secs(seconds);
        case.rules.set(Some(grace), false);
        let (mut looks, mut batches) = (0, 0);
        loop {
            let (due, next) = case.look(Fate::Due);
            looks += 1;
            batches += usize::from(!due.is_empty());
            for cookie in due {
                assert!(case.end(cookie, true));
            }
            let Some(next) = next else { break };
            case.now = next;
        }
        assert!(looks <= most, "{seconds}: {looks}");
        assert!(batches <= 62, "{seconds}: {batches}");
    }
}

#[test]
fn what_drains_is_counted() {
    let mut case = Case::new(10, false);
    case.look(Fate::Due);
    let draining = |connections| Draining {
        backends: 1,
        connections,
    };
    assert_eq!(case.drains.draining(), draining(10));
    // Some close by themselves.
    case.open.retain(|cookie| *cookie > 4);
    case.now += Duration::from_secs(1);
    case.look(Fate::Due);
    assert_eq!(case.drains.draining(), draining(6));
    case.open.clear();
    assert_eq!(case.look(Fate::Due).1, None);
    assert_eq!(case.drains.draining(), Draining::default());
}

#[test]
fn a_changed_grace_takes_effect_for_those_that_drain() {
    let mut case = Case::new(10, false);
    case.look(Fate::Due);
    case.now += Duration::from_secs(10);
    assert!(case.look(Fate::Due).0.is_empty());
    case.rules.set(Some(Duration::from_secs(5)), false);
    assert_eq!(case.look(Fate::Due).0, case.open);

    let mut case = Case::new(10, false);
    case.look(Fate::Due);
    case.rules.set(Some(GRACE * 100), false);
    case.now += GRACE;
    let (due, next) = case.look(Fate::Due);
    assert!(due.is_empty() && next.is_some());
}

#[test]
fn without_a_grace_any_more_connections_stay_or_end_as_the_flag_says() {
    for (terminates, fate) in [(false, Fate::Kept), (true, Fate::AtOnce)] {
        let mut case = Case::new(10, terminates);
        case.look(Fate::Due);
        case.rules.set(None, false);
        let (of, next) = case.look(fate);
        assert_eq!((of, next), (case.open.clone(), None));
        assert_eq!(case.drains.draining(), Draining::default());
    }
}

#[test]
fn a_grace_of_zero_ends_connections_at_once() {
    let mut case = Case::new(10, false);
    case.rules.set(Some(Duration::ZERO), false);
    assert_eq!(case.look(Fate::AtOnce), (case.open.clone(), None));
}

#[test]
fn a_backend_that_returns_keeps_its_connections_and_drains_anew_when_it_stops_again() {
    let mut case = Case::new(10, true);
    case.look(Fate::Due);
    case.now += GRACE * 3 / 4;
    case.rules.set(Some(GRACE), true);
    assert_eq!(case.look(Fate::Kept), (case.open.clone(), None));
    case.now += GRACE * 3;
    case.rules.set(Some(GRACE), false);
    case.began = case.now;
    let times = case.run(true);
    assert_eq!(times.len(), 10);
    assert!(times.iter().all(|at| *at >= GRACE / 2));
}

#[test]
fn what_cannot_be_ended_is_given_up() {
    let mut case = Case::new(10, false);
    case.look(Fate::Due);
    case.now += GRACE;
    for _ in 0..3 {
        let (due, next) = case.look(Fate::Due);
        assert_eq!(due, case.open);
        case.now = next.expect("it tries again");
    }
    assert_eq!(case.look(Fate::Later), (case.open.clone(), None));
    assert_eq!(case.drains.draining(), Draining::default());
    // The regular search tries them again.
    assert_eq!(case.look(Fate::AtOnce), (case.open.clone(), None));
    assert!(!case.end(1, true), "the drain was over");
}

#[test]
fn an_id_that_another_backend_got_begins_anew() {
    let mut case = Case::new(10, false);
    case.look(Fate::Due);
    case.open.clear();
    case.look(Fate::Due);
    case.now += GRACE;
    case.open = (50..60).collect();
    assert!(case.look(Fate::Due).0.is_empty());
}
