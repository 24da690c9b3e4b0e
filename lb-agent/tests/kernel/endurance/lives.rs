//! The lives of agents, one after the other: when a change must have been in effect.

use std::fmt;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use lb_testbed::starvation::{self, Waiters};
use lb_testbed::{Agent, AgentProcess, Deadline, stretched};

/// The time that a running agent may take for a change: far more than it needs. Time in which it, or the API server, waits for
/// a CPU does not count.
pub const PROMISE: Duration = Duration::from_secs(1);

/// The name of the API server's thread.
const API_SERVER: &str = "api-server";

#[derive(Debug, Default)]
pub struct Lives {
    past: Vec<Life>,
    now: Option<AgentProcess>,
}

#[derive(Debug)]
struct Life {
    process: u32,
    log_file: PathBuf,
    began: Instant,
    ready: Option<Instant>,
    ended: Option<Instant>,
}

/// When a change must have been in effect, and which agent was responsible.
pub struct Due {
    pub by: Instant,
    /// How long, until then, the responsible processes waited for a CPU.
    pub starved: Duration,
    pub log_file: PathBuf,
}

impl Lives {
    /// Another agent starts; the previous one has ended.
    pub fn begin(&mut self, agent: &Agent) -> Result<()> {
        let began = Instant::now();
        let process = agent.spawn()?;
        self.past.push(Life {
            process: process.id(),
            log_file: process.log_file().to_owned(),
            began,
            ready: None,
            ended: None,
        });
        self.now = Some(process);
        Ok(())
    }

    /// Lets the agent live until it has this age, ready or not.
    pub fn live(&mut self, age: Duration) -> Result<()> {
        let until = self.life()?.began + age;
        while Instant::now() < until && !self.look()? {
            thread::sleep(
                Duration::from_millis(2).min(until.saturating_duration_since(Instant::now())),
            );
        }
        thread::sleep(until.saturating_duration_since(Instant::now()));
        self.look()?;
        Ok(())
    }

    /// Waits until it is ready.
    pub fn wait_ready(&mut self) -> Result<()> {
        let deadline = Deadline::within(Duration::from_secs(30));
        while !self.look()? {
            if deadline.is_over() {
                bail!("not ready within {deadline}:\n{}", self.process()?.log());
            }
            thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// Ends the agent, in any way.
    pub fn end(&mut self, end: impl FnOnce(&mut AgentProcess) -> Result<()>) -> Result<()> {
        // The end is recorded first, since from then on the agent does nothing more.
        self.life()?.ended = Some(Instant::now());
        end(self.process()?)?;
        self.now = None;
        Ok(())
    }

    /// How long the last ready agent took to become ready.
    pub fn start(&self) -> Duration {
        let ready = |life: &Life| Some(life.ready? - life.began);
        self.past.iter().rev().find_map(ready).unwrap_or_default()
    }

    /// When a change made at this moment must have been in effect; none: not yet.
    ///
    /// The state that an agent finds when it starts is in effect when it is ready. For later changes it has a second. If it
    /// ends before that, the next agent is responsible.
    pub fn in_effect_by(&self, change: Instant) -> Option<Due> {
        let times = self.past.iter().filter_map(|life| {
            let ready = life.ready?;
            let (by, starved) = match life.began >= change {
                true => (ready, Duration::ZERO),
                false => {
                    let from = ready.max(change);
                    let by = life.given(from, stretched(PROMISE))?;
                    (by, by - from - stretched(PROMISE))
                }
            };
            let has_known = life.ended.is_none_or(|ended| ended >= by);
            let log_file = life.log_file.clone();
            has_known.then_some(Due {
                by,
                starved,
                log_file,
            })
        });
        times.min_by_key(|due| due.by)
    }

    /// Whether the agent is ready; records when it was first ready.
    fn look(&mut self) -> Result<bool> {
        if self.life()?.ready.is_some() {
            return Ok(true);
        }
        let process = self.process()?;
        if process.is_ready() {
            self.life()?.ready = Some(Instant::now());
            return Ok(true);
        }
        if let Some(status) = process.ended()? {
            bail!("an agent ended by itself ({status}):\n{}", process.log());
        }
        Ok(false)
    }

    fn life(&mut self) -> Result<&mut Life> {
        self.past.last_mut().context("no agent was started")
    }

    fn process(&mut self) -> Result<&mut AgentProcess> {
        self.now.as_mut().context("no agent runs")
    }
}

impl Life {
    /// The time at which the agent, and the server that sends it changes, had been given this much time.
    fn given(&self, from: Instant, time: Duration) -> Option<Instant> {
        let waiters = [Waiters::Process(self.process), Waiters::Threads(API_SERVER)];
        starvation::given(&waiters, from, time)
    }
}

impl fmt::Display for Lives {
    /// The time without a ready agent, between two that were ready.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut gone: Option<Instant> = None;
        let mut gaps = Vec::new();
        for life in &self.past {
            if let Some(ready) = life.ready {
                gaps.extend(gone.map(|gone| ready - gone));
                gone = life.ended;
            }
        }
        gaps.sort_unstable();
        let unready = self.past.iter().filter(|life| life.ready.is_none()).count();
        write!(
            f,
            "{} agents, {unready} of them never ready; {} times another was: after {:?} in the middle, {:?} at most, \
             {} times after more than a second",
            self.past.len(),
            gaps.len(),
            gaps.get(gaps.len() / 2).copied().unwrap_or_default(),
            gaps.last().copied().unwrap_or_default(),
            gaps.iter().filter(|gap| **gap > PROMISE).count(),
        )
    }
}
