//! A contender: a cgroup with programs, whose runs the kernel counts.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use aya::programs::{ProgramInfo, loaded_programs};
use lb_testbed::{Agent, AgentHook, Cgroup, Sandbox};

use crate::status;

/// The hooks that are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Hook {
    Connect4,
    Sendmsg4,
    Recvmsg4,
    Getpeername4,
    SockRelease,
}

impl Hook {
    pub(crate) const ALL: [Self; 5] = [
        Self::Connect4,
        Self::Sendmsg4,
        Self::Recvmsg4,
        Self::Getpeername4,
        Self::SockRelease,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Connect4 => "connect4",
            Self::Sendmsg4 => "sendmsg4",
            Self::Recvmsg4 => "recvmsg4",
            Self::Getpeername4 => "getpeername4",
            Self::SockRelease => "sock_release",
        }
    }
}

/// A cgroup of its own, and the programs on it.
#[derive(Debug)]
pub(crate) struct Contender {
    cgroup: Cgroup,
    programs: BTreeMap<Hook, u32>,
}

/// The kernel's counters of a program.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Runs {
    number: u64,
    time: Duration,
}

impl Runs {
    /// The counters of a program now, by the kernel's id.
    pub(crate) fn of(id: u32) -> Result<Self> {
        let mut programs = loaded_programs().filter_map(Result::ok);
        let program = programs
            .find(|program| program.id() == id)
            .with_context(|| format!("program {id} is not loaded"))?;
        Ok(Self::from(&program))
    }

    /// Nanoseconds for each run since an earlier reading; none if the program has not run.
    pub(crate) fn nanoseconds_since(self, earlier: Self) -> Option<f64> {
        let number = self.number.checked_sub(earlier.number)?;
        let time = self.time.checked_sub(earlier.time)?;
        (number > 0).then(|| time.as_nanos() as f64 / number as f64)
    }
}

impl From<&ProgramInfo> for Runs {
    fn from(program: &ProgramInfo) -> Self {
        Self {
            number: program.run_count(),
            time: program.run_time(),
        }
    }
}

impl Contender {
    /// Several contenders may have the same `name`, one after the other.
    pub(crate) fn new(sandbox: &Sandbox, name: &str) -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Ok(Self {
            cgroup: Cgroup::at(sandbox.cgroup()).child(&format!("{name}-{number}"))?,
            programs: BTreeMap::new(),
        })
    }

    pub(crate) fn cgroup(&self) -> &Cgroup {
        &self.cgroup
    }

    /// `id`: the kernel's id of the program.
    pub(crate) fn set_program(&mut self, hook: Hook, id: u32) {
        self.programs.insert(hook, id);
    }

    /// Takes the program ids from a running agent's status.
    pub(crate) fn set_programs_of(&mut self, agent: &Agent) -> Result<()> {
        let status = status::ask(agent)?;
        for hook in Hook::ALL {
            let is_it = |program: &&AgentHook| program.hook == hook.name();
            let program = status.hooks.iter().find(is_it);
            let program = program.with_context(|| format!("the agent has no {}", hook.name()))?;
            self.set_program(hook, program.program_id);
        }
        Ok(())
    }

    /// The counters now.
    pub(crate) fn runs(&self) -> Result<BTreeMap<Hook, Runs>> {
        let mut runs = BTreeMap::new();
        for program in loaded_programs() {
            // A program that was unloaded meanwhile is not ours.
            let Ok(program) = program else { continue };
            for (hook, id) in &self.programs {
                if *id == program.id() {
                    runs.insert(*hook, Runs::from(&program));
                }
            }
        }
        Ok(runs)
    }
}
