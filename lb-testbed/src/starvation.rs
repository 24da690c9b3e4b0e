//! Measures how long runnable threads waited for a CPU, so that a test can distinguish a fault from a busy machine.
//!
//! The kernel counts for each thread how long it was runnable without running: the second number of
//! `/proc/PID/task/TID/schedstat` (Documentation/scheduler/sched-stats.rst). A thread of this process, the recorder, reads
//! that number 20 times a second for all threads of this process and its child processes, and keeps a history. If the recorder
//! itself wakes up late, the whole machine stood still, which no thread's count shows.
//!
//! The history is kept as long as the process runs, without waits shorter than a millisecond.

mod threads;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

pub(crate) use threads::delay_of;
use threads::{Thread, own_thread, threads_below};

/// The recorder's period, and the largest share of a CPU that it takes: one twentieth.
const EVERY: Duration = Duration::from_millis(50);
const SHARE: u32 = 20;

/// The recorder ignores its own delays and waits of threads that are shorter than these.
const USUAL_LATENESS: Duration = Duration::from_millis(20);
const SHORTEST: Duration = Duration::from_millis(1);

/// Gives the recorder priority over the threads that it measures, where it has the permission.
const NICE: i32 = -20;

/// The threads whose waits count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiters {
    /// All threads of a child process.
    Process(u32),
    /// This process's threads with this name.
    Threads(&'static str),
}

/// Starts the recorder, unless it runs. It is in the namespaces of the calling thread.
pub fn record() {
    recorder();
}

/// The part of the time since `began` in which a runnable thread of this process, or of a child process, had no CPU. Threads with a
/// higher nice value than this process's first thread do not count: they are meant to wait.
pub fn starved_since(began: Instant) -> Duration {
    recorder().history().starved_since(began)
}

/// The moment at which `waiters` had had `time` since `from`, without their waits for a CPU. None if they have not had it yet.
///
/// Waits of several waiters are added up, since one may wait for the other.
pub fn given(waiters: &[Waiters], from: Instant, time: Duration) -> Option<Instant> {
    recorder().history().given(waiters, from, time)
}

#[derive(Debug)]
struct Recorder(Mutex<WaitHistory>);

impl Recorder {
    fn history(&self) -> MutexGuard<'_, WaitHistory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn recorder() -> &'static Recorder {
    static RECORDER: OnceLock<Recorder> = OnceLock::new();
    let mut is_new = false;
    let recorder = RECORDER.get_or_init(|| {
        is_new = true;
        let mut history = WaitHistory::default();
        history.snapshot(Instant::now(), Duration::ZERO, &threads_below(None));
        Recorder(Mutex::new(history))
    });
    if is_new {
        let started = thread::Builder::new()
            .name("recorder".to_owned())
            .spawn(move || keep_recording(recorder));
        if let Err(error) = started {
            eprintln!("cannot start the thread that measures starvation: {error}");
        }
    }
    recorder
}

fn keep_recording(recorder: &Recorder) {
    // Without the permission it keeps its priority and is less exact.
    let _ = rustix::process::nice(NICE);
    let own = own_thread();
    let mut pause = EVERY;
    loop {
        let wakes_at = Instant::now() + pause;
        thread::sleep(pause);
        let now = Instant::now();
        let late = now.saturating_duration_since(wakes_at);
        let threads = threads_below(own);
        recorder.history().snapshot(now, late, &threads);
        pause = EVERY.max(now.elapsed() * SHARE);
    }
}

/// The waits since the snapshot before.
#[derive(Debug)]
struct Snapshot {
    at: Instant,
    /// How long the whole machine stood still.
    stalled: Duration,
    /// The longest wait of a thread.
    longest: Duration,
    waits: Vec<Wait>,
}

/// A thread's wait since the snapshot before.
#[derive(Debug)]
struct Wait {
    process: u32,
    thread: u32,
    micros: u32,
}

/// A thread in the last snapshot, and how long it has been waiting since it last ran.
#[derive(Clone, Debug)]
struct ThreadState {
    thread: Thread,
    pending: Duration,
}

#[derive(Debug, Default)]
struct WaitHistory {
    snapshots: Vec<Snapshot>,
    seen: BTreeMap<u32, ThreadState>,
    /// Names of this process's threads, also of those that have ended.
    names: BTreeMap<u32, String>,
}

impl WaitHistory {
    fn snapshot(&mut self, at: Instant, late: Duration, threads: &[Thread]) {
        let passed = self
            .snapshots
            .last()
            .map_or(Duration::ZERO, |last| at.saturating_duration_since(last.at));
        let base = threads.iter().find(|thread| thread.is_first());
        let base = base.map_or(0, |thread| thread.nice);
        let mut snapshot = Snapshot {
            at,
            stalled: if late > USUAL_LATENESS {
                late
            } else {
                Duration::ZERO
            },
            longest: Duration::ZERO,
            waits: Vec::new(),
        };
        let mut seen = BTreeMap::new();
        for thread in threads {
            let before = self.seen.remove(&thread.id);
            // Waits of older threads may have been before the first snapshot.
            let is_counted = !self.snapshots.is_empty();
            let (now, waited) = ThreadState::next(before, thread, passed);
            let waited = if is_counted { waited } else { Duration::ZERO };
            seen.insert(thread.id, now);
            if thread.nice <= base {
                snapshot.longest = snapshot.longest.max(waited);
            }
            if waited >= SHORTEST {
                snapshot.waits.push(Wait {
                    process: thread.process,
                    thread: thread.id,
                    micros: u32::try_from(waited.as_micros()).unwrap_or(u32::MAX),
                });
            }
            if thread.process == std::process::id() && !self.names.contains_key(&thread.id) {
                self.names.insert(thread.id, thread.name.clone());
            }
        }
        self.seen = seen;
        self.snapshots.push(snapshot);
    }

    /// The snapshots after a moment, each with the time since the snapshot before or since that moment.
    fn since(&self, moment: Instant) -> impl Iterator<Item = (&Snapshot, Duration)> {
        let first = self
            .snapshots
            .partition_point(|snapshot| snapshot.at <= moment);
        let mut before = moment;
        self.snapshots[first..].iter().map(move |snapshot| {
            let passed = snapshot.at.saturating_duration_since(before);
            before = snapshot.at;
            (snapshot, passed)
        })
    }

    fn starved_since(&self, began: Instant) -> Duration {
        let snapshots = self.since(began);
        snapshots
            .map(|(snapshot, passed)| snapshot.longest.max(snapshot.stalled).min(passed))
            .sum()
    }

    fn given(&self, waiters: &[Waiters], from: Instant, time: Duration) -> Option<Instant> {
        let mut given = Duration::ZERO;
        for (snapshot, passed) in self.since(from) {
            let waits = snapshot
                .waits
                .iter()
                .filter(|wait| self.is_of(waiters, wait));
            let waited: Duration = waits
                .map(|wait| Duration::from_micros(wait.micros.into()))
                .sum();
            given += passed.saturating_sub(waited.max(snapshot.stalled));
            if given >= time {
                return Some(snapshot.at);
            }
        }
        None
    }

    fn is_of(&self, waiters: &[Waiters], wait: &Wait) -> bool {
        waiters.iter().any(|waiters| match waiters {
            Waiters::Process(process) => wait.process == *process,
            Waiters::Threads(name) => {
                let of_thread = self.names.get(&wait.thread);
                of_thread.is_some_and(|of_thread| of_thread == name)
            }
        })
    }
}

impl ThreadState {
    /// A thread's new state, and how long it waited since the last snapshot, `passed` ago.
    ///
    /// The kernel adds a wait to its count when the wait ends. A runnable thread that has not run since the last snapshot is still
    /// waiting.
    fn next(before: Option<Self>, thread: &Thread, passed: Duration) -> (Self, Duration) {
        let Some(Self {
            thread: before,
            pending: known,
        }) = before
        else {
            let thread = thread.clone();
            let waited = thread.delay.min(passed);
            let pending = Duration::ZERO;
            return (Self { thread, pending }, waited);
        };
        let still_waits = thread.is_runnable
            && (thread.ran, thread.turns) == (before.ran, before.turns)
            && thread.delay == before.delay;
        let pending = match still_waits {
            true => known + passed,
            false => Duration::ZERO,
        };
        let counted = thread.delay.saturating_sub(before.delay);
        let waited = (counted + pending).saturating_sub(known);
        let thread = thread.clone();
        (Self { thread, pending }, waited.min(passed))
    }
}

#[cfg(test)]
mod tests;
