//! Reads threads from /proc: proc_pid_stat(5), and the file `schedstat` beside it.

use std::fs;
use std::time::Duration;

/// A thread, with the scheduler's counts since it began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Thread {
    pub(super) process: u32,
    pub(super) id: u32,
    pub(super) name: String,
    pub(super) is_runnable: bool,
    pub(super) nice: i32,
    /// Nanoseconds on a CPU.
    pub(super) ran: u64,
    /// How long it waited for a CPU, without the current wait.
    pub(super) delay: Duration,
    /// How often it got a CPU.
    pub(super) turns: u64,
}

impl Thread {
    /// Whether it is the first one of this process.
    pub(super) fn is_first(&self) -> bool {
        self.id == std::process::id()
    }

    fn read(process: u32, id: u32) -> Option<Self> {
        let folder = format!("/proc/{process}/task/{id}");
        let stat = fs::read_to_string(format!("{folder}/stat")).ok()?;
        let schedstat = fs::read_to_string(format!("{folder}/schedstat")).ok()?;
        Self::parse(process, id, &stat, &schedstat)
    }

    pub(super) fn parse(process: u32, id: u32, stat: &str, schedstat: &str) -> Option<Self> {
        // The name may have spaces and parentheses in it.
        let (before, after) = stat.rsplit_once(") ")?;
        let (_, name) = before.split_once('(')?;
        let mut fields = after.split(' ');
        let is_runnable = fields.next()? == "R";
        let nice = fields.nth(15)?.parse().ok()?;
        let mut numbers = schedstat.split_whitespace().map(str::parse::<u64>);
        Some(Self {
            process,
            id,
            name: name.to_owned(),
            is_runnable,
            nice,
            ran: numbers.next()?.ok()?,
            delay: Duration::from_nanos(numbers.next()?.ok()?),
            turns: numbers.next()?.ok()?,
        })
    }
}

/// All threads of this process and its child processes, except one.
pub(super) fn threads_below(without: Option<u32>) -> Vec<Thread> {
    let mut threads = Vec::new();
    let mut processes = vec![std::process::id()];
    while let Some(process) = processes.pop() {
        let tasks = fs::read_dir(format!("/proc/{process}/task"));
        for task in tasks.into_iter().flatten().flatten() {
            let id = task.file_name().to_str().and_then(|id| id.parse().ok());
            let Some(id) = id.filter(|id| Some(*id) != without) else {
                continue;
            };
            threads.extend(Thread::read(process, id));
            // Without CONFIG_PROC_CHILDREN there is no such file, and only this process is measured.
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            processes.extend(
                children
                    .split_whitespace()
                    .filter_map(|id| id.parse::<u32>().ok()),
            );
        }
    }
    threads
}

/// The calling thread's id.
pub(super) fn own_thread() -> Option<u32> {
    let link = fs::read_link("/proc/thread-self").ok()?;
    link.file_name()?.to_str()?.parse().ok()
}

/// How long a thread of this process, by default the calling one, has waited for a CPU, without the current wait.
pub(crate) fn delay_of(thread: Option<u32>) -> Option<(u32, Duration)> {
    let id = thread.or_else(own_thread)?;
    let thread = Thread::read(std::process::id(), id)?;
    Some((id, thread.delay))
}
