//! Each wait counts once and for the right threads, also with the real kernel's numbers.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::*;
use crate::supervisor::die_with_parent;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn thread(id: u32, delay: Duration, turns: u64) -> Thread {
    Thread {
        process: id,
        id,
        name: "t".to_owned(),
        is_runnable: false,
        nice: 0,
        ran: turns,
        delay,
        turns,
    }
}

fn runnable(thread: Thread) -> Thread {
    Thread {
        is_runnable: true,
        ..thread
    }
}

/// A history of snapshots of these threads, one each 100 ms, and the time of the first.
fn history(snapshots: &[&[Thread]]) -> (WaitHistory, Instant) {
    let began = Instant::now();
    let mut history = WaitHistory::default();
    for (number, threads) in (0..).zip(snapshots) {
        history.snapshot(began + ms(100) * number, Duration::ZERO, threads);
    }
    (history, began)
}

#[test]
fn a_thread_with_any_name_is_parsed() {
    let stat = "7 (a) R (b) S 1 7 7 0 -1 4194560 1 0 0 0 1 2 0 0 20 5 1 0 99 0 0";
    let read = Thread::parse(7, 7, stat, "11 22 33\n").expect("it is whole");
    assert_eq!(read.name, "a) R (b");
    assert!(!read.is_runnable);
    assert_eq!((read.nice, read.ran, read.turns), (5, 11, 33));
    assert_eq!(read.delay, Duration::from_nanos(22));
    assert_eq!(Thread::parse(7, 7, "7 (a) S 1", "11 22 33"), None);
}

#[test]
fn a_wait_counts_once() {
    let waits = || runnable(thread(9, ms(5), 1));
    let over = thread(9, ms(5 + 190), 2);
    let (history, began) = history(&[&[thread(9, ms(5), 1)], &[waits()], &[waits()], &[over]]);
    // 190 ms, seen as two whole periods.
    assert_eq!(history.starved_since(began), ms(200));
    assert_eq!(history.starved_since(began + ms(200)), Duration::ZERO);
}

#[test]
fn a_running_thread_is_not_starved() {
    let runs = |turns| runnable(thread(9, ms(5), turns));
    let (history, began) = history(&[&[runs(1)], &[runs(2)], &[runs(3)]]);
    assert_eq!(history.starved_since(began), Duration::ZERO);
}

#[test]
fn waits_before_the_first_sample_do_not_count() {
    let old = || thread(9, ms(5_000), 1);
    let new = thread(10, ms(30), 1);
    let (history, began) = history(&[&[old()], &[old(), new]]);
    assert_eq!(history.starved_since(began), ms(30));
}

#[test]
fn idle_threads_do_not_starve_the_process() {
    let nice = |delay| Thread {
        nice: 5,
        ..thread(9, delay, 1)
    };
    let (history, began) = history(&[&[nice(ms(0))], &[nice(ms(90))]]);
    assert_eq!(history.starved_since(began), Duration::ZERO);
    // They count when they are asked for.
    assert_eq!(history.given(&[Waiters::Process(9)], began, ms(11)), None);
}

#[test]
fn a_stopped_machine_is_detected() {
    let began = Instant::now();
    let mut history = WaitHistory::default();
    history.snapshot(began, Duration::ZERO, &[]);
    history.snapshot(began + ms(3_050), ms(3_000), &[]);
    assert_eq!(history.starved_since(began), ms(3_000));
    assert_eq!(history.given(&[], began, ms(51)), None);
    history.snapshot(began + ms(3_100), ms(5), &[]);
    assert_eq!(
        history.given(&[], began, ms(51)),
        Some(began + ms(3_100)),
        "an ordinary lateness is no standstill"
    );
}

#[test]
fn time_is_extended_for_all_related_processes() {
    let at = |first, second| [thread(8, ms(first), 1), thread(9, ms(second), 1)];
    let snapshots = [at(0, 0), at(60, 0), at(60, 40), at(60, 40), at(60, 40)];
    let snapshots: Vec<&[Thread]> = snapshots.iter().map(<[Thread; 2]>::as_slice).collect();
    let (history, began) = history(&snapshots);
    let [first, second] = [8, 9].map(Waiters::Process);
    let given = |waiters: &[Waiters], time| history.given(waiters, began, time);
    assert_eq!(given(&[], ms(200)), Some(began + ms(200)));
    assert_eq!(given(&[first], ms(200)), Some(began + ms(300)));
    assert_eq!(given(&[first, second], ms(200)), Some(began + ms(300)));
    assert_eq!(given(&[first, second], ms(201)), Some(began + ms(400)));
    assert_eq!(given(&[first, second], ms(301)), None);
}

#[test]
fn threads_of_this_process_are_found_by_name() {
    let own = |delay| Thread {
        process: std::process::id(),
        name: "api-server".to_owned(),
        ..thread(9, delay, 1)
    };
    let (history, began) = history(&[&[own(ms(0))], &[own(ms(60))], &[own(ms(60))]]);
    let given = |name| history.given(&[Waiters::Threads(name)], began, ms(100));
    assert_eq!(given("api-server"), Some(began + ms(200)));
    assert_eq!(given("other"), Some(began + ms(100)));
}

/// On the real kernel: two threads that have a CPU together each wait for half of the time.
#[test]
fn threads_sharing_a_cpu_starve() {
    let began = Instant::now();
    record();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                stay_on_one_cpu();
                while !done.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        // They starve on every machine.
        while starved_since(began) < ms(200) {
            thread::sleep(ms(5));
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(starved_since(began) <= began.elapsed());
}

/// It has nothing to do: an agent that is stopped, or that sleeps, is given its time.
#[test]
fn a_stopped_process_does_not_wait_for_a_cpu() {
    let mut busy = Command::new("sh");
    busy.args(["-c", "while :; do :; done"]);
    let mut busy = die_with_parent(&mut busy).spawn().expect("sh is there");
    let pid = Pid::from_raw(i32::try_from(busy.id()).expect("a pid"));
    kill(pid, Signal::SIGSTOP).expect("it is there");
    let from = Instant::now();
    record();
    // It comes, or the test never ends.
    while given(&[Waiters::Process(busy.id())], from, ms(300)).is_none() {
        thread::sleep(ms(5));
    }
    assert!(from.elapsed() >= ms(300));
    busy.kill().expect("it is there");
    busy.wait().expect("it ends");
}

fn stay_on_one_cpu() {
    let own = Pid::from_raw(0);
    let allowed = sched_getaffinity(own).expect("it is known");
    let first = (0..CpuSet::count()).find(|cpu| allowed.is_set(*cpu).unwrap_or(false));
    let mut one = CpuSet::new();
    one.set(first.expect("it runs somewhere"))
        .expect("it is a number of a CPU");
    sched_setaffinity(own, &one).expect("it may stay");
}
