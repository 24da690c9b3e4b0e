//! `lb-agent run`: wires the rooms together and keeps them going until a signal.

mod capacity;
mod changes;
mod drift;
mod ends;
mod engine;
#[cfg(test)]
mod golden;
mod hand_over;
pub mod heartbeat;
mod privileges;
mod refused;
mod source;
mod status;
mod sweeper;
mod terminator;
mod told;
mod turns;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use self::changes::Changes;
use self::drift::Watch;
use self::ends::Ends;
use self::engine::Engine;
use self::hand_over::Prepared;
use self::sweeper::Sweeper;
use self::terminator::Terminator;
use self::turns::Ending;
use super::{LogFormat, SourceSettings, logging};
use crate::kernel::{self, Grace, Keeper, KernelError, Maps, Opened};
use crate::policy::NodePorts;
use crate::serve::{HttpServer, Metrics, Probes, Server, Stage, SyncStatus};
use crate::sockets::Worker;
use crate::source::{Batch, node_addresses};
use crate::tables::{Tables, Usage};

/// What `lb-agent run` needs to know.
#[derive(Clone, Debug)]
pub struct Settings {
    pub source: SourceSettings,
    pub kernel: kernel::Settings,
    /// Where NodePorts answer; empty: on the addresses of the node's interfaces.
    pub node_addresses: Vec<IpAddr>,
    /// First and last.
    pub node_port_range: (u16, u16),
    /// How often to look for sockets that ended unseen.
    pub sweep_interval: Duration,
    /// End also TCP connections whose backends have stopped serving.
    pub terminate_tcp: bool,
    /// How often to look whether the tables still say what they should.
    pub check_interval: Duration,
    /// How long after this agent's end the programs step aside; none: never.
    pub step_aside_after: Option<Duration>,
    /// Where the agent answers.
    pub socket: PathBuf,
    /// Where this very process answers probes, if it does.
    pub probe_socket: Option<PathBuf>,
    /// Where it serves metrics and health, if it does.
    pub http: Option<SocketAddr>,
    /// A level or a filter.
    pub log: String,
    pub log_format: LogFormat,
}

/// How often to look whether sockets have let go of what rests.
const LOOK_FOR_ROOM: Duration = Duration::from_secs(1);

/// Runs the agent until SIGTERM or SIGINT.
pub fn run(settings: Settings) -> anyhow::Result<()> {
    logging::start(&settings.log, settings.log_format)?;
    privileges::of_all();
    // Before any other thread.
    let sockets = Worker::start(privileges::of_sockets)?;
    privileges::of_tables(&settings);
    turns::run(&settings, &Arc::new(sockets))
}

/// The agent at work.
struct Agent {
    settings: Settings,
    began: Instant,
    engine: Engine<Maps>,
    sockets: Arc<Worker>,
    terminator: Terminator,
    watch: Watch,
    source: source::Watched,
    batches: mpsc::Receiver<Batch>,
    /// Before what holds the lock: a successor that has it binds the same path.
    server: Server,
    opened: Running,
    http: Option<HttpServer>,
    metrics: Arc<Metrics>,
    syncs: SyncStatus,
    changes: Changes,
    /// How full ORIGINS and SPILL were when last looked at.
    places: Option<[Usage; 2]>,
    /// What the source says is in effect.
    is_ready: bool,
}

/// What of the data path is needed once the tables have its maps.
struct Running {
    grace: Arc<Grace>,
    log: Option<kernel::ProgramLog>,
    stats: kernel::Stats,
    keeper: Keeper,
}

impl Agent {
    /// Opens the data path; what the source says already is in effect then.
    async fn start(
        settings: Settings,
        prepared: Prepared,
        sockets: Arc<Worker>,
    ) -> anyhow::Result<Self> {
        let Prepared {
            began,
            source,
            batches,
            first,
            pins,
        } = prepared;
        let opened = kernel::open(&settings.kernel, pins)?;
        tell_of_hooks(&opened);
        let Opened {
            maps,
            hooks,
            cgroup,
            grace,
            host_network,
            log,
            pins,
            pinned,
            stats,
        } = opened;
        let termination = terminator::Settings {
            tcp: settings.terminate_tcp,
            every: settings.sweep_interval,
        };
        let terminator = Terminator::new(termination, maps.look()?, sockets.ability());
        terminator.tell();
        let mut tables = Tables::recover(maps).context("the pinned tables cannot be read")?;
        let found = tables.counts();
        if found.service_ports > 0 {
            tracing::info!(
                "took over the tables of an earlier agent: {}, {}",
                many(found.frontends, "frontend"),
                many(found.backends, "backend")
            );
        }
        tables.set_host_network(host_network);
        let node_ports = NodePorts {
            addresses: addresses(&settings)?,
            range: settings.node_port_range,
        };
        let mut engine = Engine::new(settings.source.policy.clone(), node_ports, tables);
        engine.refuse_unknown(false);
        let server = Server::bind(&settings.socket)?;
        let http = match settings.http {
            Some(address) => Some(HttpServer::bind(address).await?),
            None => None,
        };
        let mut agent = Self {
            began,
            source,
            watch: Watch::new(settings.check_interval),
            settings,
            engine,
            sockets,
            terminator,
            batches,
            server,
            http,
            metrics: Arc::new(Metrics::new()),
            syncs: SyncStatus::default(),
            changes: Changes::default(),
            places: None,
            is_ready: false,
            opened: Running {
                grace: Arc::new(grace),
                log,
                stats,
                keeper: Keeper::new(pins, cgroup, pinned, hooks),
            },
        };
        if found.service_ports > 0 && !first.is_complete {
            tracing::warn!("what the earlier agent left stays until everything can be read");
        }
        agent.take(first);
        Ok(agent)
    }

    async fn run(mut self, ends: &mut Ends, probes: &Probes) -> anyhow::Result<Ending> {
        let (address_sender, mut addresses) = mpsc::channel(16);
        if self.settings.node_addresses.is_empty() {
            node_addresses::watch(address_sender)
                .context("changes of the node's addresses cannot be watched")?;
        }
        let (question_sender, mut questions) = mpsc::channel(16);
        let http = self
            .http
            .take()
            .map(|http| http.start(question_sender.clone(), Arc::clone(&self.metrics)));
        self.server.start(question_sender.clone());
        probes.enter(Stage::Running(question_sender));
        if let Some(log) = self.opened.log.take() {
            tokio::spawn(log.forward());
        }
        let mut sweeper = Sweeper::new(self.settings.sweep_interval);
        let mut looks = tokio::time::interval(LOOK_FOR_ROOM);
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
                        probes.enter(Stage::StandingBy { was_ready: self.is_ready });
                        drop(questions);
                        return Ok(Ending::HandedOver(self.make_way(http).await));
                    }
                }
                over = async { grace.as_mut().expect("polled only when there is one").await },
                    if grace.is_some() =>
                {
                    grace = None;
                    over.context("the thread that waits for grace periods ended")??;
                    self.engine.grace_is_over();
                }
                _ = looks.tick() => {
                    self.beat();
                    self.engine.look_for_room();
                    self.changes.look();
                    sweeper.tick(self.engine.tables(), &self.sockets);
                    self.places = sweeper.places;
                    self.terminator.tick();
                    self.watch.keep(&mut self.opened.keeper);
                }
                step = self.terminator.next() => {
                    self.terminator.take(step, self.engine.tables(), &self.sockets);
                }
                () = self.watch.due() => self.watch.check(&mut self.engine),
                gone = sweeper.gone() => self.engine.sweep(&gone),
                name = ends.next() => {
                    self.changes.sum_up();
                    tracing::info!(
                        "{name}: ending; the data path stays in place and goes on balancing \
                         (`lb-agent unload --pin-dir {}` takes it away)",
                        self.settings.kernel.pin_dir.display()
                    );
                    return Ok(Ending::Signal);
                }
            }
        }
    }

    /// Takes over a batch, and those that wait behind it.
    fn take(&mut self, mut batch: Batch) {
        let began = Instant::now();
        let cpu = cpu_micros();
        while let Ok(later) = self.batches.try_recv() {
            batch.append(later);
        }
        let changes = batch.changes.len();
        self.engine.learn(batch.changes, batch.problems);
        if batch.has_listed {
            let learnt = cpu_micros();
            self.engine.apply();
            self.engine.refuse_unknown(batch.is_complete);
            if batch.is_complete {
                self.engine.settle();
            }
            self.synced(changes, began, batch.heard.unwrap_or(began));
            if !self.is_ready {
                self.syncs.first_tables_cpu_micros = cpu_micros() - learnt;
            }
        }
        if !self.is_ready {
            self.syncs.first_cpu_micros += cpu_micros() - cpu;
        }
        if batch.has_listed && !std::mem::replace(&mut self.is_ready, true) {
            self.beat();
            self.tell_ready();
            kernel::give_memory_back();
        }
    }

    /// Changes are in effect.
    fn synced(&mut self, changes: usize, began: Instant, heard: Instant) {
        let after = heard.elapsed();
        self.metrics.synced(after);
        self.syncs.count += 1;
        self.syncs.last_micros = u64::try_from(after.as_micros()).unwrap_or(u64::MAX);
        if self.is_ready && changes > 0 {
            self.changes.note(changes, began.elapsed());
        }
    }

    /// Says that the agent lives; not before the tables say what is true now.
    fn beat(&mut self) {
        if self.is_ready {
            let at = heartbeat::deadline(self.settings.step_aside_after);
            self.engine.step_aside_at(at);
        }
    }

    fn tell_ready(&self) {
        let counts = self.engine.counts();
        tracing::info!(
            "ready after {} ms: {}, {}, {} in effect",
            self.began.elapsed().as_millis(),
            many(counts.service_ports, "service port"),
            many(counts.frontends, "frontend"),
            many(counts.backends, "backend"),
        );
    }
}

/// The node's addresses as they are given, else as they are.
fn addresses(settings: &Settings) -> anyhow::Result<Vec<IpAddr>> {
    if settings.node_addresses.is_empty() {
        return node_addresses::list().context("the node's addresses cannot be listed");
    }
    Ok(settings.node_addresses.clone())
}

/// CPU time of all threads.
fn cpu_micros() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let micros = time.tv_sec * 1_000_000 + time.tv_nsec / 1_000;
    u64::try_from(micros).unwrap_or_default()
}

fn tell_of_hooks(opened: &Opened) {
    let names = |is_new| {
        let hooks = opened.hooks.iter().filter(|hook| hook.is_new == is_new);
        hooks.map(|hook| hook.name).collect::<Vec<_>>().join(", ")
    };
    let cgroup = opened.cgroup.path.display();
    let (new, swapped) = (names(true), names(false));
    if !new.is_empty() {
        tracing::info!("attached to {cgroup}: {new}");
    }
    if !swapped.is_empty() {
        tracing::info!("on {cgroup} already, programs replaced without a gap: {swapped}");
    }
    if !opened.cgroup.is_root() {
        tracing::info!(
            "{cgroup} is not the root of the hierarchy: only processes in it and below are balanced"
        );
        if opened.cgroup.is_default {
            tracing::warn!(
                "this process sees no more than that of the machine's cgroups: run it in the host's cgroup namespace, \
                 or name the host's cgroup2 folder with --cgroup"
            );
        }
    }
    tracing::info!("pinned in {}", opened.pins.folder().display());
}

/// `1 file`, `2 files`.
fn many(number: usize, of: &str) -> String {
    let s = if number == 1 { "" } else { "s" };
    format!("{number} {of}{s}")
}
