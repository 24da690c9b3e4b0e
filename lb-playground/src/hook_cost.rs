//! The cost of the connect hook. The kernel counts runs and time of programs while a process holds BPF_ENABLE_STATS, and the
//! agent's status contains these counts.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;

use aya::sys::{Stats, enable_stats};
use lb_testbed::AgentHook;

/// Samples of the live figure: two seconds.
const WINDOW: usize = 8;
const HOOK: &str = "connect4";

/// Nanoseconds for a run of the connect hook.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reading {
    /// Over the last two seconds.
    pub(crate) recent: Option<f64>,
    /// Since the start.
    pub(crate) overall: Option<f64>,
}

/// Samples of the hook's counters.
#[derive(Debug)]
pub(crate) struct HookCost {
    // The kernel measures while this is open. None: it refused, and no figure is shown.
    _measuring: Option<OwnedFd>,
    first: Option<AgentHook>,
    last: VecDeque<AgentHook>,
}

impl HookCost {
    pub(crate) fn start() -> Self {
        Self {
            _measuring: enable_stats(Stats::RunTime).ok(),
            first: None,
            last: VecDeque::new(),
        }
    }

    pub(crate) fn sample(&mut self, hooks: Vec<AgentHook>) {
        let Some(hook) = hooks.into_iter().find(|hook| hook.hook == HOOK) else {
            return;
        };
        if self
            .last
            .back()
            .is_some_and(|last| last.program_id != hook.program_id)
        {
            self.last.clear();
            self.first = None;
        }
        if self.last.len() == WINDOW {
            self.last.pop_front();
        }
        self.first.get_or_insert_with(|| hook.clone());
        self.last.push_back(hook);
    }

    pub(crate) fn reading(&self) -> Reading {
        let between = |from: Option<&AgentHook>| {
            from.zip(self.last.back())
                .and_then(|(from, to)| cost(from, to))
        };
        Reading {
            recent: between(self.last.front()),
            overall: between(self.first.as_ref()),
        }
    }
}

fn cost(from: &AgentHook, to: &AgentHook) -> Option<f64> {
    let runs = to
        .run_count
        .checked_sub(from.run_count)
        .filter(|&runs| runs > 0)?;
    let time = to.run_time_ns.checked_sub(from.run_time_ns)?;
    Some(time as f64 / runs as f64)
}
