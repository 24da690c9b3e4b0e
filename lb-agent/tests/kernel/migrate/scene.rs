//! Services with pods, clients that connect, and the sockets that one client holds open meanwhile.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use aya::maps::{Array, HashMap, Map, MapData, MapInfo};
use lb_common::origin::Set;
use lb_testbed::{
    Agent, AgentProcess, Family, Manifests, NamedServer, Pod, Sandbox, ServiceManifest,
    SliceManifest, ask_udp, connect, connect_name,
};
use serde_json::json;
use socket2::Domain;

use crate::churn::Client;
use crate::support::{
    PORT, TARGET, active, agent, answers, backends, cluster_ip, eventually, status,
};
use crate::udp::{ask, socket};

/// Over TCP and UDP.
pub const WEB: SocketAddr = service(10);
/// A second Service, over UDP.
pub const OTHER: SocketAddr = service(11);
/// With session affinity.
pub const STICKY: SocketAddr = service(12);

pub const fn service(number: u8) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(cluster_ip(number)), PORT)
}

/// Two sizes to switch between.
pub const SIZES: [[&str; 2]; 3] = [["10000", "250000"], ["300", "2000"], ["700", "1000"]];

/// The pins when no migration is in progress.
pub const IN_ORDER: [&str; 3] = ["links", "origins-v1", "tables-v1"];

/// Services with pods, and a client.
pub struct Stage {
    pub manifests: Manifests,
    pub agent: Agent,
    pub client: Pod,
    _servers: Vec<NamedServer>,
}

/// The client's open sockets.
pub struct Scene<'a> {
    pub agent: &'a Agent,
    pub client: &'a Pod,
    pub held: Vec<TcpStream>,
    /// Unconnected, with flows to two Services.
    flow: UdpSocket,
    flows: [String; 2],
    sticky: BTreeSet<String>,
}

impl Stage {
    pub fn build(sandbox: &Sandbox) -> Result<Self> {
        let pods = sandbox.pods(4)?;
        let client = sandbox.pod("client")?;
        let mut servers = Vec::new();
        for pod in &pods {
            servers.push(NamedServer::tcp(pod, TARGET, pod.name())?);
            servers.push(NamedServer::udp(pod, TARGET, pod.name())?);
        }
        let manifests = sandbox.manifests()?;
        for (name, at) in [("web", WEB), ("other", OTHER), ("sticky", STICKY)] {
            let service = ServiceManifest::new(name)
                .cluster_ip(at.ip())
                .port("tcp", PORT)
                .udp_port("udp", PORT);
            let service = match name {
                "sticky" => service.spec("sessionAffinity", json!("ClientIP")),
                "other" => service.annotation("socklb.dev/algorithm", "least-conn"),
                _ => service,
            };
            let slice = SliceManifest::new(name, Family::IPv4)
                .port("tcp", TARGET)
                .udp_port("udp", TARGET)
                .addresses(pods.iter().map(Pod::ipv4));
            manifests.write(
                &format!("{name}.json"),
                [service.to_json(), slice.to_json()],
            )?;
        }
        Ok(Self {
            agent: sweeping(agent(sandbox, &manifests)),
            manifests,
            client,
            _servers: servers,
        })
    }

    /// The agent that is started here is killed at once.
    pub fn open(&self) -> Result<Scene<'_>> {
        of_sizes(&self.agent, SIZES[0]).start()?.kill()?;
        let client = &self.client;
        let flow = client.enter(|| socket(Domain::IPV4))??;
        let mut scene = Scene {
            agent: &self.agent,
            client,
            flows: [ask(&flow, WEB)?, ask(&flow, OTHER)?],
            sticky: answers(client, STICKY, 5)?.into_keys().collect(),
            held: Vec::new(),
            flow,
        };
        assert_eq!(scene.sticky.len(), 1);
        scene.hold(20)?;
        Ok(scene)
    }
}

impl Scene<'_> {
    /// Opens some more connections, and closes some of the open ones.
    pub fn hold(&mut self, number: usize) -> Result<()> {
        for to in [WEB, OTHER] {
            let streams = self.client.enter(|| -> std::io::Result<Vec<TcpStream>> {
                (0..number).map(|_| connect(to)).collect()
            })??;
            self.held.extend(streams);
        }
        self.held.drain(..number / 2);
        Ok(())
    }

    /// Clients that connect to every Service in every way.
    pub fn clients(&self) -> Vec<Client> {
        let no = |error: &dyn std::fmt::Display| format!("{error:#}");
        let sticky = self.sticky.clone();
        vec![
            Client::start(self.client, WEB, Result::is_ok),
            Client::start(self.client, OTHER, Result::is_ok),
            Client::repeat(self.client, move || {
                ask_udp(WEB).map(drop).map_err(|error| no(&error))
            }),
            // Slowly, since otherwise it would evict the flow that is held open from FLOWS.
            Client::repeat(self.client, move || {
                thread::sleep(Duration::from_millis(10));
                let ask_both = || -> Result<()> {
                    let socket = socket(Domain::IPV4)?;
                    ask(&socket, WEB)?;
                    ask(&socket, OTHER).map(drop)
                };
                ask_both().map_err(|error| no(&error))
            }),
            Client::repeat(self.client, move || match connect_name(STICKY) {
                Ok(name) if sticky.contains(&name) => Ok(()),
                answer => Err(format!("{answer:?} instead of {sticky:?}")),
            }),
        ]
    }

    /// The open sockets are unchanged.
    pub fn check_held(&self) -> Result<()> {
        for stream in &self.held {
            let peer = stream.peer_addr()?;
            ensure!([WEB, OTHER].contains(&peer), "the peer is {peer}");
        }
        for (name, to) in self.flows.iter().zip([WEB, OTHER]) {
            assert_eq!(*name, ask(&self.flow, to)?, "the flow to {to} moved");
        }
        Ok(())
    }

    /// Every count is exact: the open sockets, and all connects over TCP to `web` in total.
    pub fn check_counts(&self, connects: Option<u64>) -> Result<()> {
        let open = u64::try_from(self.held.len())? + 1;
        let mut counted = 0;
        eventually("every socket is counted", || {
            counted = active(self.agent)?;
            Ok(counted == open)
        })
        .with_context(|| {
            let places = places(self.agent);
            let counted = counted.cast_signed();
            format!("{open} are open, {counted} are counted, places that sockets have: {places:?}")
        })?;
        if let Some(connects) = connects {
            let all = backends(self.agent)?;
            let web = all
                .iter()
                .filter(|b| b.name == "web" && b.protocol == "TCP");
            assert_eq!(
                web.map(|backend| backend.connections).sum::<u64>(),
                connects
            );
        }
        Ok(())
    }

    /// Closes all sockets and checks what remains.
    pub fn end(mut self) -> Result<()> {
        self.check_held()?;
        self.check_counts(None)?;
        self.held.clear();
        drop(self.flow);
        eventually("all counts are 0 and nothing is quarantined", || {
            Ok(active(self.agent)? == 0 && status(self.agent)?.resting == 0)
        })
    }
}

pub fn of_sizes(agent: &Agent, [services, endpoints]: [&str; 2]) -> Agent {
    let agent = agent.clone().arg("--max-services").arg(services);
    agent.arg("--max-endpoints").arg(endpoints)
}

/// The sweep removes entries of sockets that closed without running a hook, and their counts. Counts without an entry stay.
fn sweeping(agent: Agent) -> Agent {
    agent.arg("--sweep-interval").arg("1s")
}

/// Like `agent`, but of the next version.
pub fn next(sandbox: &Sandbox, manifests: &Manifests) -> Result<Agent> {
    let this = Path::new(env!("CARGO_BIN_EXE_lb-agent"));
    let target = this.parent().and_then(Path::parent);
    let binary = target
        .context("it is in target")?
        .join("next-layout/lb-agent");
    ensure!(
        binary.exists(),
        "{} is not there: `cargo xtask test kernel` builds it",
        binary.display()
    );
    Ok(sweeping(Agent::new(binary, sandbox, manifests.folder())))
}

/// Fails unless it took over by filling new tables.
pub fn ensure_moved(running: &AgentProcess) -> Result<()> {
    let log = running.log();
    ensure!(log.has("migration.finished"), "{log}");
    Ok(())
}

pub fn pinned(agent: &Agent) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(agent.pin_dir())? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// The number of sockets with an entry in ORIGINS, and of those with an element in SPILL.
fn places(agent: &Agent) -> Result<[usize; 2]> {
    let pin = |name| MapData::from_pin(agent.pin_dir().join("origins-v1").join(name));
    let origins: Array<MapData, Set> = Map::Array(pin("ORIGINS")?).try_into()?;
    let spill: HashMap<MapData, u64, u64> = Map::HashMap(pin("SPILL")?).try_into()?;
    let mut entries = 0;
    for set in origins.iter() {
        entries += set?
            .entries
            .iter()
            .filter(|entry| entry.cookie != 0)
            .count();
    }
    Ok([entries, spill.keys().count()])
}

/// The lengths of FRONTENDS and BACKENDS, and whether a pin remains that should be gone.
pub fn lengths(agent: &Agent, room: &str) -> Result<(u32, u32)> {
    let room: PathBuf = agent.pin_dir().join(room);
    for pin in fs::read_dir(&room)? {
        let name = pin?.file_name().to_string_lossy().into_owned();
        ensure!(
            !name.starts_with("program_") && name != "COPIED",
            "{name} was left behind"
        );
    }
    let length =
        |name: &str| Ok::<_, anyhow::Error>(MapInfo::from_pin(room.join(name))?.max_entries());
    Ok((length("FRONTENDS")?, length("BACKENDS")?))
}

/// The error of an agent that does not start.
pub fn refusal(agent: &Agent) -> Result<String> {
    let mut refused = agent.spawn()?;
    ensure!(!refused.wait()?.success(), "it started");
    Ok(refused.log().failure().to_owned())
}
