//! `bench connections`: time and memory of `lb-agent connections` with many open connections, in one pod and in many.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use lb_testbed::{Agent, KeptSockets, Pod, Sandbox};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::{TimeVal, TimeValLike as _};
use serde::Serialize;
use socket2::{Domain, Protocol, Socket, Type};

use crate::Options;
use crate::services::{self, BACKEND_PORT, BACKENDS, ServiceKind, frontend};
use crate::verdict::verdict;

/// Connections, and the pods that have them. More pods would have the addresses of [`BACKENDS`].
const SIZES: [(usize, usize); 4] = [(1_000, 1), (10_000, 80), (100_000, 1), (100_000, 80)];
const QUICK_SIZES: [(usize, usize); 1] = [(1_000, 10)];

/// The most connections that one process has.
const OF_ONE_PROCESS: usize = 10_000;

/// Services, the first of which has the connections.
const SERVICES: usize = 1_000;

/// Formats of `--output`.
const FORMATS: [&str; 3] = ["table", "wide", "json"];

/// The figures for one number of connections and pods.
#[derive(Debug, Serialize)]
struct ConnectionsRow {
    connections: usize,
    pods: usize,
    /// For each of [`FORMATS`].
    p50_ms: [f64; 3],
    /// CPU time of a call, which is what it takes on an idle machine.
    cpu_ms: f64,
    /// The largest resident size of any call so far.
    most_mb: f64,
}

pub(crate) fn run(options: &Options, sandbox: &Sandbox) -> Result<()> {
    let sizes = if options.quick {
        &QUICK_SIZES[..]
    } else {
        &SIZES
    };
    let manifests = sandbox.manifests()?;
    services::write(&manifests, ServiceKind::Tcp, SERVICES)?;
    let agent = Agent::new(&options.agent, sandbox, manifests.folder());
    let mut running = agent.start()?;
    let server = sandbox.pod("server")?;
    server.add_addresses(BACKENDS.map(IpAddr::from))?;
    let mut clients = Vec::new();
    let mut rows = Vec::new();
    println!(
        "{:>11} {:>5} {:>9} {:>9} {:>9} {:>7} {:>8}",
        "connections", "pods", "table ms", "wide ms", "json ms", "CPU ms", "most MB"
    );
    for &(connections, pods) in sizes {
        eprintln!("bench: {connections} connections of {pods} pods");
        while clients.len() < pods {
            clients.push(client(sandbox, clients.len())?);
        }
        let listeners = BACKENDS.map(|address| listen(&server, address));
        let open = connect(&clients[..pods], connections / pods)?;
        let rounds = if options.quick { 3 } else { 11 };
        let row = measure(options, &agent, (connections, pods), rounds)?;
        drop((open, listeners));
        println!(
            "{:>11} {:>5} {:>9.0} {:>9.0} {:>9.0} {:>7.0} {:>8.0}",
            row.connections,
            row.pods,
            row.p50_ms[0],
            row.p50_ms[1],
            row.p50_ms[2],
            row.cpu_ms,
            row.most_mb
        );
        rows.push(row);
    }
    running.terminate()?;
    agent.unload()?;
    let slowest = rows.iter().flat_map(|row| row.p50_ms).fold(0.0, f64::max);
    let most_mb = rows.iter().map(|row| row.most_mb).fold(0.0, f64::max);
    let what = format!("the slowest list takes {slowest:.0} ms");
    println!("\n{}", verdict(&what, "below 1000", slowest < 1e3));
    let what = format!("the largest takes {most_mb:.0} MB");
    println!("{}", verdict(&what, "below 100", most_mb < 100.0));
    options.write_json(&rows)
}

fn measure(
    options: &Options,
    agent: &Agent,
    (connections, pods): (usize, usize),
    rounds: usize,
) -> Result<ConnectionsRow> {
    let mut p50_ms = [0.0; 3];
    let before = children_cpu_ms()?;
    for (format, p50) in FORMATS.iter().zip(&mut p50_ms) {
        let mut took = Vec::new();
        for _ in 0..rounds {
            let mut command = Command::new(&options.agent);
            command.args(["connections", "--output", format, "--socket"]);
            command
                .arg(agent.socket())
                .arg("--pin-dir")
                .arg(agent.pin_dir());
            let began = Instant::now();
            let output = command.output().context("cannot start lb-agent")?;
            took.push(began.elapsed().as_secs_f64() * 1e3);
            let error = String::from_utf8_lossy(&output.stderr);
            ensure!(output.status.success() && error.is_empty(), "{error}");
            let listed = match *format {
                "json" => output
                    .stdout
                    .windows(9)
                    .filter(|of| of == b"\"cookie\":")
                    .count(),
                _ => output.stdout.iter().filter(|byte| **byte == b'\n').count() - 1,
            };
            ensure!(
                listed == connections,
                "{listed} of {connections} are listed"
            );
        }
        took.sort_by(f64::total_cmp);
        *p50 = took[took.len() / 2];
    }
    let cpu = children_cpu_ms()? - before;
    let most = getrusage(UsageWho::RUSAGE_CHILDREN)?.max_rss();
    Ok(ConnectionsRow {
        cpu_ms: cpu / (rounds * FORMATS.len()) as f64,
        connections,
        pods,
        p50_ms,
        most_mb: most as f64 * 1024.0 / 1e6,
    })
}

/// CPU time of the processes that have ended.
fn children_cpu_ms() -> Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let ms = |time: TimeVal| time.num_microseconds() as f64 / 1e3;
    Ok(ms(usage.user_time()) + ms(usage.system_time()))
}

/// Listens in a pod, without ever accepting: then the server's ends of connections need no file descriptors. A listener has room for
/// [`u16::MAX`] of them.
fn listen(server: &Pod, address: Ipv4Addr) -> Result<Socket> {
    let backlog = i32::from(u16::MAX);
    let most = backlog.to_string();
    server
        .namespace()
        .set_sysctls(&[("net/core/somaxconn", most.as_str())])?;
    let listen = || -> io::Result<Socket> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        socket.bind(&SocketAddr::from((address, BACKEND_PORT)).into())?;
        socket.listen(backlog)?;
        Ok(socket)
    };
    server.enter(listen)?.context("cannot listen")
}

/// A pod that has ports for all connections.
fn client(sandbox: &Sandbox, number: usize) -> Result<Pod> {
    let pod = sandbox.pod(&format!("client-{number}"))?;
    let ports = [("net/ipv4/ip_local_port_range", "1024 65535")];
    pod.namespace().set_sysctls(&ports)?;
    Ok(pod)
}

/// Connections from each of these pods to the first Service, in processes of the pods.
fn connect(pods: &[Pod], each: usize) -> Result<Vec<KeptSockets>> {
    let mut kept = Vec::new();
    for pod in pods {
        let mut left = each;
        while left > 0 {
            let number = left.min(OF_ONE_PROCESS);
            let connect = || -> io::Result<Vec<OwnedFd>> {
                let streams = (0..number).map(|_| lb_testbed::connect(frontend(0)));
                streams.map(|stream| Ok(stream?.into())).collect()
            };
            let sockets = pod.enter(connect)?.context("cannot connect")?;
            kept.push(KeptSockets::in_pod(pod, sockets)?);
            left -= number;
        }
    }
    Ok(kept)
}
