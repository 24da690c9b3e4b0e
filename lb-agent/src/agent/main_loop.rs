//! The agent's main loop.

use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::mpsc;

use super::clients;
use super::grace_wait::GraceWait;
use super::packets::{self, PacketEvent};
use super::program_events;
use super::service_metrics::MetricsPer;
use super::signals::EndSignals;
use super::state::Agent;
use super::sweeper::Sweeper;
use crate::kernel::{self, Pins};
use crate::serve::{Probes, ProcessStage};
use crate::source::node_addresses;

/// How often to do the work that no event causes.
const TICK: Duration = Duration::from_secs(1);

/// How a tenure ends.
pub enum Ending {
    /// SIGTERM or SIGINT came.
    Signal,
    /// Everything is closed except the folder, which stays locked as long as this value exists.
    HandedOver(Pins),
}

impl Agent {
    /// Runs until a signal, or until another agent takes over.
    pub async fn run(mut self, ends: &mut EndSignals, probes: &Probes) -> anyhow::Result<Ending> {
        let (address_sender, mut addresses) = mpsc::channel(16);
        if self.settings.node_addresses.is_empty() {
            node_addresses::watch(address_sender).context("cannot watch the node's addresses")?;
        }
        let (question_sender, mut questions) = mpsc::channel(16);
        let http = self.http.take().map(|http| {
            let metrics = self.metrics.registered();
            let names_services = self.settings.metrics_per != MetricsPer::None;
            http.start(question_sender.clone(), metrics, names_services)
        });
        let events = self.settings.events.clone();
        self.server.start(question_sender.clone(), events);
        probes.enter(ProcessStage::Running(question_sender));
        if let Some(log) = self.opened.log.take() {
            tokio::spawn(log.forward());
        }
        let mut sweeper = Sweeper::new(self.settings.sweep_interval);
        let mut ticks = tokio::time::interval(TICK);
        let mut grace = GraceWait::default();
        loop {
            self.start_what_is_due(&mut grace);
            tokio::select! {
                Some(batch) = self.batches.recv() => self.take(batch),
                Some(addresses) = addresses.recv() => self.engine.set_node_addresses(addresses),
                Some(question) = questions.recv() => if self.answer(question) {
                    probes.enter(ProcessStage::StandingBy { was_ready: self.is_ready });
                    break;
                },
                result = grace.over() => self.end_grace(result)?,
                _ = ticks.tick() => self.tick(&mut sweeper),
                event = self.terminator.next() => {
                    self.terminator.take(event, &self.engine, &self.sockets);
                }
                event = self.aborter.next() => self.aborter.take(event, &self.engine, &self.sockets),
                () = self.drift.due() => self.drift.check(&mut self.engine),
                closed = sweeper.closed() => {
                    self.engine.sweep(&closed);
                    self.prune_counters();
                }
                () = self.feed.networks.found() => {}
                events = program_events::next(&mut self.opened.events) => self.take_program_events(events),
                event = clients::next(&mut self.clients) => if let Some(clients) = &mut self.clients {
                    clients.take(event);
                },
                event = packets::next(&mut self.packets) => self.take_packet_event(event),
                result = self.duties.cleaned() => self.duties.take_cleaned(result, &self.engine),
                signal = ends.next() => return Ok(self.stop(signal)),
            }
        }
        drop(questions);
        Ok(Ending::HandedOver(self.close_for_hand_over(http).await))
    }

    /// Starts a grace period if something waits for one, and the search for sockets whose backends have stopped
    /// serving.
    fn start_what_is_due(&mut self, grace: &mut GraceWait) {
        if !grace.is_under_way() && self.engine.begin_grace() {
            grace.start(&self.opened.grace);
        }
        if self.is_ready {
            self.terminator.notice(&self.engine);
        }
    }

    fn end_grace(&mut self, result: anyhow::Result<()>) -> anyhow::Result<()> {
        result?;
        self.engine.grace_is_over();
        Ok(())
    }

    /// The work of each second.
    fn tick(&mut self, sweeper: &mut Sweeper) {
        self.send_heartbeat();
        self.engine.tick();
        self.changes.log_if_due();
        sweeper.tick(self.engine.tables(), &self.sockets);
        self.entry_usage = sweeper.entry_usage;
        self.terminator.tick();
        self.keep_outliers();
        self.drift.keep(&mut self.opened.keeper);
        self.keep_packet_path();
        self.duties.beat(self.packets.as_ref());
        self.feed_events();
        self.keep_shadow();
        if std::mem::take(&mut self.has_spare_memory) {
            tokio::task::spawn_blocking(kernel::give_memory_back);
        }
    }

    /// Handles a signal that ends the process. The data path stays.
    fn stop(&mut self, signal: &'static str) -> Ending {
        self.changes.log_summary();
        tracing::info!(
            event = "agent.stopped",
            signal,
            path = %self.settings.kernel.pin_dir.display(),
            "stopping: the hooks stay attached and keep balancing; `lb-agent unload` removes them",
        );
        Ending::Signal
    }

    /// Takes an event of the packet path.
    fn take_packet_event(&mut self, event: PacketEvent) {
        let Some(packets) = &mut self.packets else {
            return;
        };
        match event {
            PacketEvent::Devices(devices) => packets.set_devices(devices),
            PacketEvent::Ruleset if !packets.is_in_place() => {
                if packets.put_in_place(&mut self.engine) {
                    let settings = &self.settings.duties;
                    self.duties.start_conntrack(settings, &self.metrics.duties);
                }
            }
            PacketEvent::Ruleset => {
                let restored = packets.check_ruleset(&mut self.engine);
                self.drift.count_packets(restored);
            }
            PacketEvent::Elements(elements) => {
                let restored = packets.take_elements(elements, &mut self.engine);
                self.drift.count_packets(restored);
            }
        }
    }

    /// The work of each second on the packet path.
    fn keep_packet_path(&mut self) {
        if let Some(packets) = &mut self.packets {
            let restored = packets.keep();
            self.drift.count_packets(restored);
        }
        if self.engine.tables().is_nat_stale() {
            self.take_packet_event(PacketEvent::Ruleset);
        }
    }
}
