//! Simulates many agents that lose one server and find it again, on a virtual clock: when each has recovered, and how many
//! requests the server gets.

use std::cell::RefCell;
use std::rc::Rc;

use tokio::task::LocalSet;

use super::*;

const KINDS: [Kind; 4] = [
    Kind::Service,
    Kind::EndpointSlice,
    Kind::Node,
    Kind::ServiceCidr,
];
const AGENTS: u32 = 200;

/// A failure of the server, and when it ends.
#[derive(Clone)]
struct Outage {
    phases: Vec<(Duration, Failure)>,
    retry_after: Option<Duration>,
    /// Then each watch gets the answer that its revision is too old.
    forgets: bool,
}

impl Outage {
    /// No server for this many seconds.
    fn of(seconds: u64) -> Self {
        Self::in_phases(&[(seconds, Failure::Unreachable)])
    }

    /// When it ends, in seconds, and the kind of failure.
    fn in_phases(phases: &[(u64, Failure)]) -> Self {
        let phases = phases.iter();
        Self {
            phases: phases
                .map(|(until, what)| (seconds(*until), *what))
                .collect(),
            retry_after: None,
            forgets: false,
        }
    }

    fn at(&self, time: Duration) -> Option<Failure> {
        let mut phases = self.phases.iter();
        phases
            .find(|(until, _)| time < *until)
            .map(|(_, failure)| *failure)
    }

    fn end(&self) -> Duration {
        self.phases.last().map_or(Duration::ZERO, |phase| phase.0)
    }
}

/// The result of a simulation.
#[derive(Default)]
struct Seen {
    /// The time of each attempt.
    attempts: Vec<Duration>,
    /// The time from the server's return until each watch recovered.
    back: Vec<Duration>,
}

impl Seen {
    /// The highest rate of attempts in any second that begins between these times, per agent.
    fn busiest(&mut self, from: Duration, to: Duration) -> f64 {
        self.attempts.sort_unstable();
        let within = |at: Duration| {
            let first = self.attempts.partition_point(|time| *time < at);
            let last = (at + Duration::from_secs(1)).min(to);
            self.attempts.partition_point(|time| *time < last) - first
        };
        let seconds = self.attempts.iter().filter(|at| (from..to).contains(*at));
        let most = seconds.map(|at| within(*at)).max().unwrap_or_default();
        most as f64 / f64::from(AGENTS)
    }

    fn back_at(&mut self, percent: usize) -> Duration {
        self.back.sort_unstable();
        self.back[(self.back.len() - 1) * percent / 100]
    }
}

/// All agents lose the server at the same time.
async fn live_through(outage: Outage) -> Seen {
    let began = Instant::now();
    let seen = Rc::new(RefCell::new(Seen::default()));
    let tasks = LocalSet::new();
    for _ in 0..AGENTS {
        let pace = Arc::new(Pace::new());
        for kind in KINDS {
            let mut attempts = Attempts::new(Arc::clone(&pace), kind);
            let (pace, outage, seen) = (Arc::clone(&pace), outage.clone(), Rc::clone(&seen));
            tasks.spawn_local(async move {
                let mut failure = Failure::Unreachable;
                let mut forgets = outage.forgets;
                loop {
                    attempts.pause(failure).await;
                    let time = began.elapsed();
                    seen.borrow_mut().attempts.push(time);
                    match outage.at(time) {
                        Some(another) => {
                            pace.record_refusal(kind, outage.retry_after);
                            failure = another;
                        }
                        None if std::mem::take(&mut forgets) => {
                            pace.record_success(kind, true);
                            failure = Failure::Outdated;
                        }
                        None => break,
                    }
                }
                pace.record_success(kind, true);
                let late = began.elapsed() - outage.end();
                seen.borrow_mut().back.push(late);
            });
        }
    }
    tasks.await;
    seen.take()
}

const fn seconds(number: u64) -> Duration {
    Duration::from_secs(number)
}

#[tokio::test(start_paused = true)]
async fn agents_return_within_seconds_of_their_server_but_not_all_at_once() {
    for away in [1, 8, 25, 120, 600] {
        for forgets in [false, true] {
            let mut outage = Outage::of(away);
            outage.forgets = forgets;
            let mut seen = live_through(outage).await;
            let (median, worst) = (seen.back_at(50), seen.back_at(100));
            let away = seconds(away);
            let most_before = seen.busiest(away / 2, away);
            let most_after = seen.busiest(away, away + seconds(10));
            let case = format!(
                "away for {away:?}, forgets: {forgets}; back after {median:?}, at worst {worst:?}; \
                 a second's attempts of an agent: {most_before:.2} before, {most_after:.2} after"
            );
            println!("{case}");
            assert!(median < seconds(3), "{case}");
            assert!(worst < seconds(6), "{case}");
            // An agent sends one request and, when it succeeds, one for each of its other kinds.
            let of_each = if forgets { 2.0 } else { 1.0 };
            assert!(most_after < 3.0 * of_each, "{case}");
            if away > seconds(8) {
                assert!(most_before < 0.9, "{case}");
                assert!(most_after < 2.2 * of_each, "{case}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_refuses_everything_while_starting_delays_no_agent() {
    for (away, refuses) in [(1, 2), (8, 4), (25, 8), (120, 12)] {
        let mut outage = Outage::in_phases(&[
            (away, Failure::Unreachable),
            (away + refuses, Failure::Refused),
        ]);
        outage.forgets = true;
        let mut seen = live_through(outage).await;
        let (median, worst) = (seen.back_at(50), seen.back_at(100));
        let case = format!(
            "away for {away} s, refuses for {refuses} s; back after {median:?}, at worst {worst:?}"
        );
        println!("{case}");
        assert!(median < seconds(3), "{case}");
        assert!(worst < seconds(6), "{case}");
    }
}

/// As when the server is restarted several times in a row.
#[tokio::test(start_paused = true)]
async fn repeated_outages_do_not_lengthen_the_recovery() {
    let pace = Arc::new(Pace::new());
    let tasks = LocalSet::new();
    let worst = Rc::new(RefCell::new(Duration::ZERO));
    let began = Instant::now();
    for kind in KINDS {
        let mut attempts = Attempts::new(Arc::clone(&pace), kind);
        let (pace, worst) = (Arc::clone(&pace), Rc::clone(&worst));
        tasks.spawn_local(async move {
            for outage in 0..20 {
                let from = began + seconds(8) * outage;
                tokio::time::sleep_until(from).await;
                let mut failure = Failure::Unreachable;
                while from.elapsed() < seconds(1) || failure == Failure::Unreachable {
                    attempts.pause(failure).await;
                    if from.elapsed() >= seconds(1) {
                        pace.record_success(kind, true);
                        failure = Failure::Outdated;
                    }
                }
                attempts.pause(failure).await;
                pace.record_success(kind, true);
                let late = from.elapsed() - seconds(1);
                worst.replace_with(|worst| late.max(*worst));
            }
        });
    }
    tasks.await;
    assert!(*worst.borrow() < seconds(6), "{worst:?}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_keeps_refusing_is_asked_less_often() {
    let mut seen = live_through(Outage::in_phases(&[(600, Failure::Refused)])).await;
    let late = seen.busiest(seconds(300), seconds(600));
    assert!(late < 0.15, "{late} attempts of an agent in a second");
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_respected() {
    let mut outage = Outage::in_phases(&[(60, Failure::Broken)]);
    outage.retry_after = Some(seconds(20));
    let mut seen = live_through(outage).await;
    // Once per kind at the very beginning; then at most once in 20 s per kind.
    let later = seen.busiest(seconds(20), seconds(60));
    let of_all = seen.attempts.len() as f64 / f64::from(AGENTS);
    assert!(of_all < 4.0 * (1.0 + 60.0 / 20.0 + 1.0), "{of_all}");
    assert!(later <= 4.0, "{later}");
}

#[tokio::test(start_paused = true)]
async fn two_kinds_that_fail_after_listing_do_not_reset_each_others_delay() {
    let pace = Arc::new(Pace::new());
    let tasks = LocalSet::new();
    let number = Rc::new(RefCell::new(0));
    for kind in [Kind::Service, Kind::Node] {
        let mut attempts = Attempts::new(Arc::clone(&pace), kind);
        let (pace, number) = (Arc::clone(&pace), Rc::clone(&number));
        tasks.spawn_local(async move {
            let end = Instant::now() + seconds(600);
            while Instant::now() < end {
                pace.record_success(kind, true);
                attempts.pause(Failure::Broken).await;
                *number.borrow_mut() += 1;
            }
        });
    }
    tasks.await;
    // Each sends a request every 4.5 s, and when it is woken: at most once in 5 s.
    let most = 600.0 * 2.0 * (1.0 / 4.5 + 1.0 / 5.0) * 1.2;
    let number = f64::from(*number.borrow());
    assert!(number < most, "{number} attempts in 600 s, not {most}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_always_answers_gone_is_not_listed_in_a_loop() {
    let mut attempts = Attempts::new(Arc::new(Pace::new()), Kind::Service);
    let pace = Arc::clone(&attempts.pace);
    let end = Instant::now() + seconds(600);
    let mut number = 0;
    while Instant::now() < end {
        pace.record_success(Kind::Service, true);
        attempts.pause(Failure::Outdated).await;
        number += 1;
    }
    assert!(number < 150, "{number} attempts in 600 s");
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_worked_for_a_while_restarts_at_once() {
    let mut attempts = Attempts::new(Arc::new(Pace::new()), Kind::Service);
    let pace = Arc::clone(&attempts.pace);
    let long = Instant::now() + seconds(120);
    while Instant::now() < long {
        attempts.pause(Failure::Refused).await;
    }
    pace.record_success(Kind::Service, true);
    tokio::time::sleep(seconds(1)).await;
    assert!(!attempts.has_settled());
    tokio::time::sleep(seconds(10)).await;
    assert!(attempts.has_settled());
    let cut = Instant::now();
    attempts.pause(Failure::Refused).await;
    assert!(cut.elapsed() <= FIRST_WAIT, "{:?}", cut.elapsed());
    assert!(!attempts.has_settled());
}
