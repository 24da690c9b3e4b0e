//! `bench stale`: how long UDP sockets that are connected through a Service stay open after its backend was removed, in many
//! pods at once.
//!
//! The time is from the change of the manifest until the last socket was closed, as a resolver would have to wait.

use std::io::Write as _;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsFd as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use lb_testbed::{
    Agent, Family, Manifests, NetworkNamespace, Sandbox, ServiceManifest, SliceManifest,
    die_with_parent,
};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::Serialize;

use crate::Options;
use crate::services::{BACKEND_PORT, BACKENDS, PORT, frontend};
use crate::usage::cpu_seconds;
use crate::verdict::verdict;

/// Each is a network namespace with a process and a socket.
const PODS: [usize; 3] = [1, 30, 300];

/// Longest time; the bench fails after it.
const PATIENCE: Duration = Duration::from_secs(30);

/// The figures for one number of pods.
#[derive(Debug, Serialize)]
struct StaleRow {
    pods: usize,
    /// From the change until the last socket was closed.
    p50_ms: f64,
    longest_ms: f64,
    /// CPU time of the agent for one change.
    cpu_ms: f64,
}

pub(crate) fn run(options: &Options, sandbox: &Sandbox) -> Result<()> {
    let manifests = sandbox.manifests()?;
    write(&manifests, BACKENDS[0])?;
    let agent = Agent::new(&options.agent, sandbox, manifests.folder());
    let mut running = agent.start()?;
    let mut pods: Vec<UdpPod> = Vec::new();
    let mut rows = Vec::new();
    println!(
        "{:>6} {:>9} {:>11} {:>9}",
        "pods", "p50 ms", "longest ms", "CPU ms"
    );
    for number in PODS {
        eprintln!("bench: {number} network namespaces");
        while pods.len() < number {
            pods.push(UdpPod::new()?);
        }
        let rounds = if options.quick { 4 } else { 20 };
        let row = measure(&pods, rounds, &manifests, running.id())?;
        println!(
            "{:>6} {:>9.0} {:>11.0} {:>9.1}",
            row.pods, row.p50_ms, row.longest_ms, row.cpu_ms
        );
        rows.push(row);
    }
    running.terminate()?;
    agent.unload()?;
    if let Some(most) = rows.last() {
        let what = format!(
            "sockets in {} pods closed after at most {:.0} ms",
            most.pods, most.longest_ms
        );
        println!("\n{}", verdict(&what, "below 1000", most.longest_ms < 1e3));
    }
    options.write_json(&rows)
}

fn measure(pods: &[UdpPod], rounds: usize, manifests: &Manifests, agent: u32) -> Result<StaleRow> {
    let mut took = Vec::new();
    let mut used = 0.0;
    for round in 0..rounds {
        for pod in pods {
            pod.socket.connect(frontend(0)).context("cannot connect")?;
        }
        let before = cpu_seconds(agent)?;
        let began = Instant::now();
        write(manifests, BACKENDS[(round + 1) % 2])?;
        wait_until_closed(pods)?;
        took.push(began.elapsed().as_secs_f64() * 1e3);
        used += cpu_seconds(agent)? - before;
        for pod in pods {
            let error = pod.socket.take_error()?;
            let code = error.and_then(|error| error.raw_os_error());
            ensure!(
                code == Some(nix::libc::ECONNABORTED),
                "a socket has the error {code:?}, not ECONNABORTED"
            );
        }
    }
    took.sort_by(f64::total_cmp);
    Ok(StaleRow {
        pods: pods.len(),
        p50_ms: took[took.len() / 2],
        longest_ms: took.last().copied().unwrap_or_default(),
        cpu_ms: used * 1e3 / rounds as f64,
    })
}

/// Waits until every pod's socket has an error.
fn wait_until_closed(pods: &[UdpPod]) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let mut waiting: Vec<PollFd<'_>> = pods
        .iter()
        .map(|pod| PollFd::new(pod.socket.as_fd(), PollFlags::empty()))
        .collect();
    while !waiting.is_empty() {
        let left = deadline.saturating_duration_since(Instant::now());
        ensure!(
            poll(&mut waiting, PollTimeout::try_from(left)?)? > 0,
            "{} sockets are still open after {PATIENCE:?}",
            waiting.len()
        );
        waiting.retain(|fd| fd.revents().is_some_and(|events| events.is_empty()));
    }
    Ok(())
}

/// The Service with one backend.
fn write(manifests: &Manifests, backend: Ipv4Addr) -> Result<()> {
    let service = ServiceManifest::new("dns")
        .cluster_ip(*frontend(0).ip())
        .udp_port("dns", PORT);
    let slice = SliceManifest::new("dns", Family::IPv4)
        .udp_port("dns", BACKEND_PORT)
        .addresses([backend]);
    manifests.write("dns.json", [service.to_json(), slice.to_json()])
}

/// A network namespace without a way out, with a process in it, as in a real pod.
struct UdpPod {
    socket: UdpSocket,
    process: Child,
}

impl UdpPod {
    fn new() -> Result<Self> {
        let namespace = NetworkNamespace::create()?;
        let mut ip = Command::new("ip");
        let mut ip = namespace
            .starts(ip.args(["-batch", "-"]).stdin(Stdio::piped()))
            .spawn()
            .context("cannot start ip")?;
        let mut lines = ip.stdin.take().context("ip has no input")?;
        lines.write_all(b"link set lo up\naddress add 10.244.0.254/24 dev lo\n")?;
        drop(lines);
        let status = ip.wait()?;
        ensure!(status.success(), "ip: {status}");
        let mut sleep = Command::new("sleep");
        namespace.starts(sleep.arg("3600"));
        let process = die_with_parent(&mut sleep).spawn()?;
        let bind = || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0));
        let socket = namespace.enter(bind)??;
        Ok(Self { socket, process })
    }
}

impl Drop for UdpPod {
    fn drop(&mut self) {
        let ended = self.process.kill().and_then(|()| self.process.wait());
        if let Err(error) = ended {
            eprintln!("bench: cannot stop a pod's process: {error}");
        }
    }
}
