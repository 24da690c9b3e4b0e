//! The agent's main loop.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::signals::EndSignals;
use super::state::Agent;
use super::sweeper::Sweeper;
use crate::kernel::{KernelError, Pins};
use crate::serve::{Metrics, Probes, ProcessStage};
use crate::source::node_addresses;

/// How often to do what is not caused by an event.
const TICK: Duration = Duration::from_secs(1);

/// How a tenure ends.
pub enum Ending {
    /// By SIGTERM or SIGINT.
    Signal,
    /// Everything is closed but the folder, which is locked for as long as this lives.
    HandedOver(Pins),
}

impl Agent {
    /// Works until a signal, or until another agent takes over.
    pub async fn run(mut self, ends: &mut EndSignals, probes: &Probes) -> anyhow::Result<Ending> {
        let (address_sender, mut addresses) = mpsc::channel(16);
        if self.settings.node_addresses.is_empty() {
            node_addresses::watch(address_sender).context("cannot watch the node's addresses")?;
        }
        let (question_sender, mut questions) = mpsc::channel(16);
        let http = self.http.take().map(|http| {
            let metrics = Metrics::new(|registry| self.metrics.register(registry));
            http.start(question_sender.clone(), metrics)
        });
        self.server.start(question_sender.clone());
        probes.enter(ProcessStage::Running(question_sender));
        if let Some(log) = self.opened.log.take() {
            tokio::spawn(log.forward());
        }
        let mut sweeper = Sweeper::new(self.settings.sweep_interval);
        let mut ticks = tokio::time::interval(TICK);
        let mut grace: Option<JoinHandle<Result<(), KernelError>>> = None;
        loop {
            if grace.is_none() && self.engine.begin_grace() {
                let period = Arc::clone(&self.opened.grace);
                grace = Some(tokio::task::spawn_blocking(move || period.wait()));
            }
            if self.is_ready {
                self.terminator.notice(self.engine.tables().stops());
            }
            tokio::select! {
                Some(batch) = self.batches.recv() => self.take(batch),
                Some(addresses) = addresses.recv() => self.engine.set_node_addresses(addresses),
                Some(question) = questions.recv() => {
                    if self.answer(question) {
                        probes.enter(ProcessStage::StandingBy { was_ready: self.is_ready });
                        drop(questions);
                        return Ok(Ending::HandedOver(self.close_for_hand_over(http).await));
                    }
                }
                over = async { grace.as_mut().expect("polled only when there is one").await },
                    if grace.is_some() =>
                {
                    grace = None;
                    over.context("cannot wait for a grace period")??;
                    self.engine.grace_is_over();
                }
                _ = ticks.tick() => {
                    self.send_heartbeat();
                    self.engine.tick();
                    self.changes.sum_up_if_due();
                    sweeper.tick(self.engine.tables(), &self.sockets);
                    self.entry_usage = sweeper.entry_usage;
                    self.terminator.tick();
                    self.drift.keep(&mut self.opened.keeper);
                }
                step = self.terminator.next() => {
                    self.terminator.take(step, self.engine.tables(), &self.sockets);
                }
                () = self.drift.due() => self.drift.check(&mut self.engine),
                closed = sweeper.closed() => self.engine.sweep(&closed),
                name = ends.next() => {
                    self.changes.sum_up();
                    tracing::info!(
                        event = "agent.stopped",
                        signal = name,
                        path = %self.settings.kernel.pin_dir.display(),
                        "stopping: the hooks stay attached and keep balancing; `lb-agent unload` removes them",
                    );
                    return Ok(Ending::Signal);
                }
            }
        }
    }
}
