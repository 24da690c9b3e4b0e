//! The running agent: its parts, and how it applies changes.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc;

use super::aborter::Aborter;
use super::change_summary::Changes;
use super::clients::Clients;
use super::drift::DriftWatch;
use super::duties::Duties;
use super::engine::Engine;
use super::event_feed::EventFeed;
use super::heartbeat;
use super::metrics::AgentMetrics;
use super::outliers::Outliers;
use super::packets::PacketPath;
use super::settings::AgentSettings;
use super::shadow::Shadow;
use super::source::WatchedSource;
use super::terminator::Terminator;
use crate::kernel::{self, Grace, Keeper, Maps};
use crate::serve::{HttpServer, Server, SyncStatus};
use crate::sockets::Worker;
use crate::source::Batch;
use crate::tables::Usage;

/// The running agent.
pub struct Agent {
    pub settings: AgentSettings,
    pub began: Instant,
    pub engine: Engine<Maps>,
    pub sockets: Arc<Worker>,
    pub terminator: Terminator,
    pub aborter: Aborter,
    pub outliers: Outliers,
    /// None: the hooks serve all clients.
    pub clients: Option<Clients>,
    /// None: not in shadow mode.
    pub shadow: Option<Shadow>,
    pub drift: DriftWatch,
    pub source: WatchedSource,
    pub batches: mpsc::Receiver<Batch>,
    /// Declared before the field that holds the lock, and so dropped first: the successor that gets the lock binds the
    /// same path.
    pub server: Server,
    pub opened: Running,
    /// None if it is off.
    pub packets: Option<PacketPath>,
    pub duties: Duties,
    pub http: Option<HttpServer>,
    pub metrics: AgentMetrics,
    pub feed: EventFeed,
    pub syncs: SyncStatus,
    pub changes: Changes,
    /// How full ORIGINS and SPILL were at the last check.
    pub entry_usage: Option<[Usage; 2]>,
    /// The contents of the source are in effect.
    pub is_ready: bool,
    /// A long answer was given since memory was returned to the kernel last.
    pub has_spare_memory: bool,
}

/// The parts of the data path that the agent uses after the tables have taken its maps.
pub struct Running {
    pub grace: Arc<Grace>,
    pub log: Option<kernel::ProgramLog>,
    pub stats: kernel::Stats,
    pub events: kernel::ProgramEvents,
    /// Attached as long as the agent runs.
    pub _syn_timeout: Option<kernel::SynTimeout>,
    pub counters: kernel::ServiceCounterMap,
    pub keeper: Keeper,
}

impl Agent {
    /// Applies a batch together with all batches that wait behind it.
    pub fn take(&mut self, mut batch: Batch) {
        let began = Instant::now();
        let cpu = cpu_micros();
        self.duties.queued();
        while let Ok(later) = self.batches.try_recv() {
            batch.append(later);
        }
        let changes = batch.changes.len();
        if let Some(kube_proxy) = &self.metrics.kube_proxy {
            kube_proxy.queued(&batch.changes);
        }
        if let Some(clients) = &mut self.clients {
            clients.learn(&mut batch.changes);
            if batch.has_listed {
                clients.apply();
            }
        }
        self.engine.learn(batch.changes, batch.problems);
        if batch.has_listed {
            let learnt = cpu_micros();
            self.engine.apply();
            self.outliers.note_changes();
            self.engine.refuse_unknown(batch.is_complete);
            if batch.is_complete {
                self.engine.settle();
            }
            self.duties.updated(&mut self.engine);
            self.keep_shadow();
            self.synced(changes, began, batch.received.unwrap_or(began));
            if !self.is_ready {
                self.syncs.first_tables_cpu_micros = cpu_micros() - learnt;
            }
        }
        if !self.is_ready {
            self.syncs.first_cpu_micros += cpu_micros() - cpu;
        }
        if batch.has_listed && !std::mem::replace(&mut self.is_ready, true) {
            self.send_heartbeat();
            self.outliers.attach(&self.engine.ejections());
            if let Some(packets) = &mut self.packets {
                packets.watch_netfilter(self.engine.tables().backing());
            }
            self.log_ready();
            kernel::give_memory_back();
        }
    }

    /// Brings the comparison of shadow mode up to date.
    pub fn keep_shadow(&mut self) {
        if let Some(shadow) = &mut self.shadow {
            shadow.update(&mut self.engine);
        }
    }

    /// Records that changes are in effect.
    pub fn synced(&mut self, changes: usize, began: Instant, received: Instant) {
        let after = received.elapsed();
        self.metrics.sync.observe(after);
        if let Some(kube_proxy) = &self.metrics.kube_proxy {
            kube_proxy.synced(began.elapsed(), &self.engine.take_triggers());
        }
        self.syncs.count += 1;
        self.syncs.last_micros = u64::try_from(after.as_micros()).unwrap_or(u64::MAX);
        if self.is_ready && changes > 0 {
            self.changes.count(changes, began.elapsed());
        }
    }

    /// Postpones the time at which the programs fail open. Does nothing until the tables are up to date.
    pub fn send_heartbeat(&mut self) {
        if self.is_ready {
            let at = heartbeat::deadline(self.settings.fail_open_after);
            self.engine.set_fail_open_at(at);
        }
    }

    pub fn log_ready(&self) {
        let counts = self.engine.counts();
        tracing::info!(
            event = "agent.ready",
            elapsed_seconds = self.began.elapsed().as_secs_f64(),
            service_ports = counts.service_ports,
            frontends = counts.frontends,
            backends = counts.backends,
            "ready: the source is in effect",
        );
    }
}

/// CPU time of all threads, in µs.
fn cpu_micros() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let micros = time.tv_sec * 1_000_000 + time.tv_nsec / 1_000;
    u64::try_from(micros).unwrap_or_default()
}
