//! Ejections of backends of tables in memory, with a clock that the tests move.

use lb_common::outlier::Failures;

use super::*;
use crate::tables::Tables;
use crate::tables::testing::Memory;
use crate::tables::testing::world::{World, backend, change, port};

const SECOND: u64 = 1_000_000_000;

/// A service port with so many watched backends, and its id.
fn tables(backends: u8) -> (Tables<Memory>, u32) {
    let mut tables = Tables::recover(Memory::new([100; 4])).expect("memory can be read");
    let watched = |number| crate::policy::Backend {
        watched: true,
        ..backend(number)
    };
    let port = port(1, (1..=backends).map(watched).collect());
    let world = World::from([(port.key.clone(), port.clone())]);
    assert!(tables.apply(change(&World::new(), &world)).is_empty());
    let id = tables.counts_of(&port.key).expect("it is there").id;
    (tables, id)
}

struct Bench {
    tables: Tables<Memory>,
    port: u32,
    ejector: Ejector,
    now: u64,
}

impl Bench {
    fn new(backends: u8) -> Self {
        let (tables, port) = tables(backends);
        Self {
            tables,
            port,
            ejector: Ejector::new(2),
            now: 1_000 * SECOND,
        }
    }

    fn ids(&mut self) -> Vec<u32> {
        let backends = self.tables.ejections().watched(self.port);
        backends.iter().map(|backend| backend.id).collect()
    }

    fn until(&mut self, id: u32) -> u64 {
        let backends = self.tables.ejections().watched(self.port);
        let found = backends.iter().find(|backend| backend.id == id);
        found.map_or(0, |backend| backend.ejected_until)
    }

    /// As the programs count it.
    fn set_failures(&mut self, id: u32, count: u32) {
        let word = Failures { count, socket: 1 }.to_word();
        self.tables.ejections().set_failures(id, word);
    }

    fn fail(&mut self, id: u32, count: u32) -> Vec<Outcome> {
        self.set_failures(id, count);
        let of = self
            .ejector
            .suspect(&mut self.tables.ejections(), self.port, id, self.now);
        of.iter().map(|decision| decision.outcome).collect()
    }

    fn tick(&mut self) -> Vec<Outcome> {
        let of = self.ejector.tick(&mut self.tables.ejections(), self.now);
        of.iter().map(|decision| decision.outcome).collect()
    }

    /// As a program does when a trial fails.
    fn fail_trial(&mut self, id: u32) -> Vec<Outcome> {
        let until = self.until(id);
        assert!(
            self.tables
                .ejections()
                .eject(id, until, self.now + 5 * SECOND)
        );
        self.fail(id, 3)
    }
}

fn ejected(seconds: u64) -> Outcome {
    Outcome::Ejected {
        failures: 2,
        lasts: Duration::from_secs(seconds),
    }
}

#[test]
fn ejections_begin_after_enough_failures_and_double() {
    let mut bench = Bench::new(3);
    let id = bench.ids()[0];
    assert_eq!(bench.fail(id, 1), []);
    assert_eq!(bench.fail(id, 2), [ejected(5)]);
    assert_eq!(bench.until(id), bench.now + 5 * SECOND);
    for seconds in [10, 20, 40, 80, 160, 300, 300] {
        bench.now += 600 * SECOND;
        let lasts = Duration::from_secs(seconds);
        assert_eq!(bench.fail_trial(id), [Outcome::TrialFailed { lasts }]);
        assert_eq!(bench.tick(), []);
    }
    assert_eq!(bench.ejector.ejected(), 1);
}

#[test]
fn at_most_half_of_the_backends_are_ejected() {
    let mut bench = Bench::new(5);
    let ids = bench.ids();
    assert_eq!(bench.fail(ids[0], 2), [ejected(5)]);
    assert_eq!(bench.fail(ids[1], 2), [ejected(5)]);
    assert_eq!(bench.fail(ids[2], 2), []);
    let mut one = Bench::new(1);
    let id = one.ids()[0];
    assert_eq!(one.fail(id, 9), []);
}

#[test]
fn if_all_fail_all_are_used_until_one_does_not() {
    let mut bench = Bench::new(2);
    let ids = bench.ids();
    assert_eq!(bench.fail(ids[0], 2), [ejected(5)]);
    assert_eq!(bench.fail(ids[1], 2), [Outcome::Readmitted(Why::AllFail)]);
    assert_eq!(bench.fail(ids[0], 3), []);
    bench.set_failures(ids[1], 0);
    assert_eq!(
        bench.fail(ids[0], 2),
        [Outcome::Ejected {
            failures: 2,
            lasts: Duration::from_secs(10),
        }]
    );
}

#[test]
fn a_backend_comes_back_after_a_trial_or_untried() {
    let mut bench = Bench::new(4);
    let ids = bench.ids();
    assert_eq!(bench.fail(ids[0], 2), [ejected(5)]);
    assert_eq!(bench.fail(ids[1], 2), [ejected(5)]);
    assert_eq!(bench.tick(), []);
    // A program has readmitted one.
    let until = bench.until(ids[0]);
    assert!(bench.tables.ejections().eject(ids[0], until, 0));
    assert_eq!(bench.tick(), [Outcome::Readmitted(Why::Trial)]);
    assert_eq!(bench.tick(), []);
    bench.now += 64 * SECOND;
    assert_eq!(bench.tick(), []);
    bench.now += 2 * SECOND;
    assert_eq!(bench.tick(), [Outcome::Readmitted(Why::Untried)]);
    assert_eq!(bench.until(ids[1]), 0);
    assert_eq!(bench.ejector.ejected(), 0);
    // A trial that has not failed by the end of its time has succeeded.
    assert_eq!(bench.fail(ids[2], 2), [ejected(5)]);
    let until = bench.until(ids[2]);
    assert!(
        bench
            .tables
            .ejections()
            .eject(ids[2], until, (bench.now + SECOND) | TRIAL)
    );
    assert_eq!(bench.tick(), []);
    bench.now += 2 * SECOND;
    assert_eq!(bench.tick(), [Outcome::Readmitted(Why::Trial)]);
}

#[test]
fn backends_that_go_leave_no_more_than_half_ejected() {
    let mut bench = Bench::new(4);
    let ids = bench.ids();
    bench.fail(ids[0], 2);
    bench.fail(ids[1], 2);
    let watched = |number| crate::policy::Backend {
        watched: true,
        ..backend(number)
    };
    let three = port(1, [1, 2, 3].map(watched).to_vec());
    let update = crate::policy::Update {
        changed: vec![three],
        ..Default::default()
    };
    assert!(bench.tables.apply(update).is_empty());
    assert_eq!(bench.tick(), [Outcome::Readmitted(Why::TooMany)]);
    assert_eq!(bench.ejector.ejected(), 1);
    // Detection is turned off.
    let update = crate::policy::Update {
        changed: vec![port(1, [1, 2, 3].map(backend).to_vec())],
        ..Default::default()
    };
    assert!(bench.tables.apply(update).is_empty());
    assert_eq!(bench.tick(), [Outcome::Readmitted(Why::Off)]);
    let words = ids.iter().map(|id| bench.tables.ejections().word(*id));
    assert_eq!(words.collect::<Vec<_>>(), [0; 4]);
}

#[test]
fn the_next_agent_takes_over_what_is_ejected() {
    let mut bench = Bench::new(3);
    let id = bench.ids()[0];
    bench.fail(id, 2);
    let mut next = Ejector::new(2);
    next.adopt(&bench.tables.ejections(), bench.now);
    assert_eq!(next.ejected(), 1);
    bench.ejector = next;
    bench.now += 6 * SECOND;
    let lasts = Duration::from_secs(10);
    assert_eq!(bench.fail_trial(id), [Outcome::TrialFailed { lasts }]);
}
