//! Shared by the tests: an agent of this build, Services with servers, and the agent's output.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use lb_agent::serve::{self, BackendStatus, FetchError, Status};
use lb_testbed::{
    Agent, AgentProcess, Deadline, Family, Manifests, NamedServer, Pod, Sandbox, ServiceManifest,
    SliceManifest, connect, connect_name, was_starved,
};
use socket2::SockRef;

use crate::orphan::orphan_entry;

/// The usual port of Services here.
pub const PORT: u16 = 80;

/// The port that pods listen on.
pub const TARGET: u16 = 8080;

/// The address of an agent's HTTP server.
pub const HTTP: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 10_356);

/// Far more than a change takes.
const LIMIT: Duration = Duration::from_secs(10);

/// The agent of this build, on the sandbox's manifests.
pub fn agent(sandbox: &Sandbox, manifests: &Manifests) -> Agent {
    Agent::new(env!("CARGO_BIN_EXE_lb-agent"), sandbox, manifests.folder())
}

/// A ClusterIP that no pod has: 10.96.0.`number`.
pub const fn cluster_ip(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 96, 0, number)
}

/// Writes a Service with one TCP port, and its backends, to a file with its name.
pub fn write_service(
    manifests: &Manifests,
    name: &str,
    cluster_ip: impl Into<IpAddr>,
    backends: &[IpAddr],
) -> Result<()> {
    let cluster_ip = cluster_ip.into();
    let family = if cluster_ip.is_ipv4() {
        Family::IPv4
    } else {
        Family::IPv6
    };
    let service = ServiceManifest::new(name)
        .cluster_ip(cluster_ip)
        .port("http", PORT);
    let slice = SliceManifest::new(name, family)
        .port("http", TARGET)
        .addresses(backends.iter().copied());
    manifests.write(
        &format!("{name}.json"),
        [service.to_json(), slice.to_json()],
    )
}

/// Pods that serve their own names until this value is dropped.
pub struct Servers {
    pub pods: Vec<Pod>,
    _servers: Vec<NamedServer>,
}

impl Servers {
    pub fn start(sandbox: &Sandbox, number: usize) -> Result<Self> {
        let pods = sandbox.pods(number)?;
        let servers = pods
            .iter()
            .map(|pod| NamedServer::tcp(pod, TARGET, pod.name()))
            .collect::<Result<_>>()?;
        Ok(Self {
            pods,
            _servers: servers,
        })
    }

    pub fn addresses(&self, family: Family) -> Vec<IpAddr> {
        self.pods.iter().map(|pod| pod.address(family)).collect()
    }

    pub fn ipv4(&self) -> Vec<IpAddr> {
        self.addresses(Family::IPv4)
    }
}

/// The Service `web`, its pods, a client pod, and a running agent.
pub struct Web {
    pub servers: Servers,
    pub client: Pod,
    pub manifests: Manifests,
    pub agent: Agent,
    pub running: AgentProcess,
}

impl Web {
    /// The address of `web`.
    pub const ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(cluster_ip(10)), PORT);

    /// Starts this many pods, the first of which are backends.
    pub fn start(sandbox: &Sandbox, pods: usize, backends: usize) -> Result<Self> {
        let servers = Servers::start(sandbox, pods)?;
        let client = sandbox.pod("client")?;
        let manifests = sandbox.manifests()?;
        let addresses = servers.ipv4();
        write_service(&manifests, "web", cluster_ip(10), &addresses[..backends])?;
        let agent = agent(sandbox, &manifests);
        let running = agent.start()?;
        Ok(Self {
            servers,
            client,
            manifests,
            agent,
            running,
        })
    }
}

/// `lb-agent unload`; its output.
pub fn unload(agent: &Agent) -> Result<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_lb-agent"))
        .arg("unload")
        .arg("--pin-dir")
        .arg(agent.pin_dir())
        .output()?;
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{said}");
    Ok(said.into_owned())
}

/// The number of times that each name answers to this many connects from a pod.
pub fn answers(client: &Pod, to: SocketAddr, connects: usize) -> Result<BTreeMap<String, u64>> {
    client.enter(|| {
        let mut answers = BTreeMap::new();
        for _ in 0..connects {
            let name = connect_name(to).with_context(|| format!("connecting to {to}"))?;
            *answers.entry(name).or_insert(0) += 1;
        }
        Ok(answers)
    })?
}

/// The error of a connect from a pod.
pub fn failure(client: &Pod, to: SocketAddr) -> Result<io::Error> {
    match client.enter(|| connect_name(to))? {
        Ok(name) => bail!("{to} was answered by {name}"),
        Err(error) => Ok(error),
    }
}

/// Waits until a condition holds. Time that the test or an agent waits for a CPU does not count.
pub fn eventually(what: &str, mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Deadline::within(LIMIT);
    while !is_so()? {
        if deadline.is_over() {
            bail!("{what}: not within {deadline}");
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Returns the answer of `GET /v1/status`.
pub fn status(agent: &Agent) -> Result<Status> {
    fetch(agent.socket(), serve::STATUS)
}

/// Returns the answer of `GET /v1/backends`.
pub fn backends(agent: &Agent) -> Result<Vec<BackendStatus>> {
    fetch(agent.socket(), serve::BACKENDS)
}

fn fetch<T: serde::de::DeserializeOwned>(socket: &Path, document: &str) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    loop {
        let began = Instant::now();
        match runtime.block_on(serve::fetch(socket, document)) {
            // An agent closes connections that send nothing for two seconds.
            Err(FetchError::Http { .. }) if was_starved(began) => {}
            answer => return Ok(answer?),
        }
    }
}

/// Connects from a pod, and leaves the entry of that socket behind as if no hook had run when it closed.
pub fn leave_entry(agent: &Agent, client: &Pod, to: SocketAddr) -> Result<()> {
    let stream = client.enter(|| connect(to))??;
    let cookie = SockRef::from(&stream).cookie()?;
    orphan_entry(&agent.pin_dir().join("origins-v1/ORIGINS"), cookie)
}

/// Waits until the backends of a Service are these, all of them choices of its ClusterIP.
pub fn wait_for_backends(agent: &Agent, name: &str, addresses: &[IpAddr]) -> Result<()> {
    let mut wanted: Vec<IpAddr> = addresses.to_vec();
    wanted.sort();
    eventually(&format!("{name} has the backends {wanted:?}"), || {
        let mut now: Vec<IpAddr> = backends(agent)?
            .iter()
            .filter(|backend| backend.name == name && backend.internal)
            .filter_map(|backend| backend.address.parse::<SocketAddr>().ok())
            .map(|address| address.ip())
            .collect();
        now.sort();
        Ok(now == wanted)
    })
}

/// The sum of all backends' active counts.
pub fn active(agent: &Agent) -> Result<u64> {
    Ok(backends(agent)?.iter().map(|backend| backend.active).sum())
}

/// The status code and the text of a path of the HTTP server of an agent with `--http` [`HTTP`].
pub fn get(path: &str) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect(HTTP)?;
    write!(
        stream,
        "GET /{path} HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let code = answer.split(' ').nth(1).unwrap_or_default().parse()?;
    Ok((code, answer))
}
