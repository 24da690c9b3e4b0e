//! The agent ends repeatedly while Services change and clients send requests as fast as they can. Every request to a Service
//! with a server is answered, and never by a server that left more than a second before.
//!
//! The second begins when the server leaves or, if no agent was running then, when one is back. Time in which the agent waited
//! for a CPU does not count: see `lives`.

mod churn;
mod clients;
mod killed;
mod ledger;
mod lives;
mod services;
mod upgraded;

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_testbed::{Agent, NamedServer, Pod, Sandbox};
use nix::mount::{MsFlags, mount};

use self::churn::Churn;
use self::clients::Clients;
use self::lives::Lives;
use self::services::Services;
use crate::kubernetes::Cluster;
use crate::support::{TARGET, active, backends, eventually, status};

/// Gives the seed of all random numbers here, to reproduce a failure.
const SEED: &str = "SOCKLB_TEST_SEED";

/// The number of agents to end, instead of the usual one, for a partial run on a machine where the whole takes hours.
const ROUNDS: &str = "SOCKLB_TEST_ROUNDS";

/// The usual number.
pub fn rounds(usual: u32) -> Result<u32> {
    match std::env::var(ROUNDS) {
        Ok(rounds) => rounds.parse().with_context(|| format!("{ROUNDS}={rounds}")),
        Err(_) => Ok(usual),
    }
}

/// Agents are expected to be ready within this time, so that two hundred lives do not take hours.
const LONGEST_START: Duration = Duration::from_secs(2);

/// Changes, clients, and the agents' lives.
struct Load {
    cluster: Arc<Cluster>,
    services: Arc<Services>,
    lives: Lives,
    churn: Churn,
    clients: Clients,
    random: fastrand::Rng,
    _pods: [Pod; 2],
    _servers: [NamedServer; 2],
}

impl Load {
    /// All Services are in effect, and changes and clients run.
    fn start(sandbox: &Sandbox) -> Result<Self> {
        let seed = match std::env::var(SEED) {
            Ok(seed) => seed.parse().with_context(|| format!("{SEED}={seed}"))?,
            Err(_) => fastrand::u64(..),
        };
        println!("everything random follows from {SEED}={seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let pods = [sandbox.pod("servers")?, sandbox.pod("client")?];
        let services = Arc::new(Services::new());
        pods[0].add_addresses(services.servers())?;
        pods[1].reach_through(&pods[0], services.servers())?;
        let servers = [
            NamedServer::tcp_by_address(&pods[0], TARGET)?,
            NamedServer::udp_by_address(&pods[0], TARGET)?,
        ];
        let mut cluster = Cluster::new(sandbox)?;
        cluster.agent = cluster.agent.logging_to(logs_in_memory(sandbox)?);
        let cluster = Arc::new(cluster);
        for service in services.lasting() {
            service.create(&cluster.server, &mut random)?;
        }
        let mut lives = Lives::default();
        lives.begin(&cluster.agent)?;
        lives.wait_ready()?;
        Ok(Self {
            clients: Clients::start(&pods[1], &services, &mut random)?,
            churn: Churn::start(&cluster, &services, random.fork()),
            cluster,
            services,
            lives,
            random,
            _pods: pods,
            _servers: servers,
        })
    }

    fn agent(&self) -> &Agent {
        &self.cluster.agent
    }

    /// A random moment of an agent's life: often before it is ready, rarely long after. On a machine so busy that agents start
    /// slowly it is rarely after.
    fn moment(&mut self) -> Duration {
        let share = match self.random.u8(..) {
            0..24 => 3.0 + 7.0 * self.random.f64(),
            _ => 4.0 * self.random.f64(),
        };
        self.lives.start().min(LONGEST_START).mul_f64(share)
    }

    /// Waits until everything is idle, and checks it. An agent runs.
    fn finish(mut self) -> Result<()> {
        self.lives.wait_ready()?;
        self.churn.finish()?;
        self.wait_for_services()?;
        let asked = self.clients.finish(&self.services, &self.lives)?;
        println!("{asked}\n{}", self.lives);
        let agent = self.agent();
        eventually("no socket is counted", || Ok(active(agent)? == 0))?;
        eventually("nothing is quarantined", || Ok(status(agent)?.resting == 0))
            .with_context(|| quarantined(agent))?;
        self.check_connections()
    }

    /// Waits until the agent reports the state of each Service.
    fn wait_for_services(&self) -> Result<()> {
        eventually("all changes are in effect", || {
            let mut now: BTreeMap<(String, String), Vec<IpAddr>> = BTreeMap::new();
            for backend in backends(self.agent())? {
                let address: SocketAddr = backend.address.parse()?;
                let of_port = now.entry((backend.name, backend.protocol)).or_default();
                of_port.push(address.ip());
            }
            now.values_mut().for_each(|addresses| addresses.sort());
            Ok(now == self.services.backends())
        })
    }

    /// The backends that never left have counted every connection, over all agents' lives.
    fn check_connections(&self) -> Result<()> {
        let counted = backends(self.agent())?;
        for service in self.services.steady() {
            for (protocol, answers) in
                [("TCP", &service.tcp_answers), ("UDP", &service.udp_answers)]
            {
                let mut all = 0;
                for (server, answers) in service.servers.iter().zip(answers) {
                    let at = SocketAddr::new(*server, TARGET).to_string();
                    let backend = counted
                        .iter()
                        .find(|backend| backend.address == at && backend.protocol == protocol);
                    let counted = backend.map(|backend| backend.connections);
                    let answered = answers.load(Ordering::Relaxed);
                    ensure!(
                        counted == Some(answered),
                        "{at} over {protocol}: {counted:?} connections, {answered} answers"
                    );
                    all += answered;
                }
                ensure!(all > 0, "no client used {} over {protocol}", service.at);
            }
        }
        Ok(())
    }
}

/// The quarantined elements of the tables.
fn quarantined(agent: &Agent) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_lb-agent"))
        .arg("dump")
        .arg("--pin-dir")
        .arg(agent.pin_dir())
        .output();
    let text = output.map_or_else(
        |error| error.to_string(),
        |output| String::from_utf8_lossy(&output.stdout).into_owned(),
    );
    let lines = text.lines().filter(|line| line.starts_with("quarantined"));
    lines.collect::<Vec<_>>().join("\n")
}

/// A folder that is not on a disk: an agent waits until a line of its log is written, and a disk may be busy for seconds.
fn logs_in_memory(sandbox: &Sandbox) -> Result<PathBuf> {
    let folder = sandbox.dir().join("logs");
    fs::create_dir(&folder)?;
    let none = None::<&str>;
    mount(Some("logs"), &folder, Some("tmpfs"), MsFlags::empty(), none)?;
    Ok(folder)
}
