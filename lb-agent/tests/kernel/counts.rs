//! A hundred thousand sockets open and close in every way, while backends change and the agent is killed. In the end every
//! count is 0.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use lb_testbed::{Family, Manifests, NamedServer, Pod, ServiceManifest, SliceManifest};
use lb_testbed::{connect, sandboxed_within};
use socket2::{Domain, Protocol, Socket, Type};

use crate::leaks::{disconnect, heir, send_to_nobody};
use crate::support::{PORT, TARGET, active, agent, cluster_ip, eventually, status};

const SOCKETS: usize = 100_000;
const CLIENTS: usize = 2;
/// The number of rounds, each with other backends; every fifth one kills the agent.
const ROUNDS: usize = 30;

/// The number of sockets that clients may still open, and whether it is final.
#[derive(Default)]
struct Budget {
    left: AtomicUsize,
    is_over: AtomicBool,
}

/// Served over TCP and UDP by changing pods.
const WEB: SocketAddr = service(10);
const OTHER: SocketAddr = service(11);
/// Its pod does not listen.
const DEAF: SocketAddr = service(12);
/// Its Service has no pod.
const EMPTY: SocketAddr = service(13);

const fn service(number: u8) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(cluster_ip(number)), PORT)
}

/// Writes the Services; `round` selects the pods of those that change.
fn write(manifests: &Manifests, pods: &[Pod], deaf: &Pod, round: usize) -> Result<()> {
    let both = |at: SocketAddr, name: &str, pods: &[&Pod]| {
        let service = ServiceManifest::new(name)
            .cluster_ip(at.ip())
            .port("tcp", PORT)
            .udp_port("udp", PORT);
        let slice = SliceManifest::new(name, Family::IPv4)
            .port("tcp", TARGET)
            .udp_port("udp", TARGET)
            .addresses(pods.iter().map(|pod| pod.ipv4()));
        [service.to_json(), slice.to_json()]
    };
    let turn = |number: usize| &pods[(round + number) % pods.len()];
    let objects = [
        both(WEB, "web", &[turn(0), turn(1), turn(2)]),
        both(OTHER, "other", &[turn(2), turn(3)]),
        both(DEAF, "deaf", &[deaf]),
        both(EMPTY, "empty", &[]),
    ];
    manifests.write("all.json", objects.into_iter().flatten())
}

/// Opens and closes sockets until the budget is used up, a few at a time in each way.
fn client(budget: &Budget) -> Result<()> {
    const WAYS: [fn() -> io::Result<usize>; 8] = [
        plain,
        refused,
        retried,
        connected_udp,
        sent_udp,
        copied,
        on_their_way,
        failed_and_used,
    ];
    let mut round = 0_usize;
    loop {
        if budget.left.load(Ordering::Relaxed) == 0 {
            if budget.is_over.load(Ordering::Relaxed) {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
            continue;
        }
        let used = if round % 2_000 == 1_999 {
            killed()?
        } else if round % 100 == 99 {
            subflow()?
        } else {
            WAYS[round % WAYS.len()]()?
        };
        budget
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| {
                Some(n.saturating_sub(used))
            })
            .unwrap_or_default();
        round += 1;
    }
    Ok(())
}

fn plain() -> io::Result<usize> {
    for to in [WEB, OTHER, WEB] {
        connect(to)?;
    }
    Ok(3)
}

fn refused() -> io::Result<usize> {
    for to in [DEAF, EMPTY] {
        match connect(to) {
            Err(error) if error.raw_os_error() == Some(libc::ECONNREFUSED) => {}
            Err(error) => return Err(error),
            Ok(_) => return Err(io::Error::other("it was answered")),
        }
    }
    Ok(2)
}

/// Non-blocking, with repeated connects until it is connected.
fn retried() -> io::Result<usize> {
    let socket = tcp(Protocol::TCP)?;
    socket.set_nonblocking(true)?;
    for _ in 0..1_000 {
        match socket
            .connect(&WEB.into())
            .err()
            .and_then(|e| e.raw_os_error())
        {
            None | Some(libc::EISCONN) => return Ok(1),
            Some(libc::EINPROGRESS | libc::EALREADY) => {
                std::thread::sleep(Duration::from_micros(50))
            }
            Some(error) => return Err(io::Error::from_raw_os_error(error)),
        }
    }
    Ok(1)
}

fn connected_udp() -> io::Result<usize> {
    let socket = udp()?;
    for to in [WEB, OTHER, WEB] {
        socket.connect(to)?;
    }
    disconnect(&socket)?;
    socket.connect(OTHER)?;
    Ok(1)
}

fn sent_udp() -> io::Result<usize> {
    let socket = udp()?;
    for to in [WEB, OTHER, WEB, OTHER] {
        // An answer that a pod no longer received shows in the next call.
        let _ = socket.send_to(b"?", to);
    }
    socket.connect(WEB)?;
    Ok(1)
}

fn copied() -> io::Result<usize> {
    let streams = [connect(WEB)?, connect(OTHER)?];
    let copies = [streams[0].try_clone()?, streams[1].try_clone()?];
    drop(streams);
    drop(copies);
    Ok(2)
}

fn on_their_way() -> io::Result<usize> {
    let (sender, _receiver) = UnixStream::pair()?;
    let sockets = [
        connect(WEB)?.into(),
        udp()
            .and_then(|udp| {
                udp.connect(WEB)?;
                Ok(udp)
            })?
            .into(),
    ];
    send_to_nobody(&sender, &sockets)?;
    Ok(2)
}

/// A socket whose first connect fails and whose second succeeds.
fn failed_and_used() -> io::Result<usize> {
    let socket = tcp(Protocol::TCP)?;
    for to in [EMPTY, DEAF] {
        if socket.connect(&to.into()).is_ok() {
            return Err(io::Error::other("it was answered"));
        }
    }
    socket.connect(&WEB.into())?;
    Ok(1)
}

fn killed() -> Result<usize> {
    let mut sockets = Vec::new();
    for _ in 0..20 {
        sockets.push(connect(WEB)?.into());
    }
    let mut heir = heir(&sockets)?;
    drop(sockets);
    heir.kill()?;
    heir.wait()?;
    Ok(20)
}

fn subflow() -> io::Result<usize> {
    tcp(Protocol::MPTCP)?.connect(&WEB.into())?;
    Ok(1)
}

/// Closing it resets the connection, so that nothing stays in TIME_WAIT.
fn tcp(protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(protocol))?;
    socket.set_linger(Some(Duration::ZERO))?;
    Ok(socket)
}

fn udp() -> io::Result<UdpSocket> {
    UdpSocket::bind("0.0.0.0:0")
}

#[test]
fn no_socket_is_counted_after_all_have_closed() {
    sandboxed_within(Duration::from_secs(600), |sandbox| {
        let pods = sandbox.pods(5)?;
        let [deaf, client_pod] = [sandbox.pod("deaf")?, sandbox.pod("client")?];
        let mut servers = Vec::new();
        for pod in &pods {
            servers.push(NamedServer::tcp(pod, TARGET, pod.name())?);
            servers.push(NamedServer::udp(pod, TARGET, pod.name())?);
        }
        let manifests = sandbox.manifests()?;
        write(&manifests, &pods, &deaf, 0)?;
        let agent = agent(sandbox, &manifests).arg("--sweep-interval").arg("1s");
        let mut running = agent.start()?;

        let budget = Arc::new(Budget::default());
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                let budget = Arc::clone(&budget);
                client_pod.spawn(move || client(&budget))
            })
            .collect();
        for round in 1..=ROUNDS {
            budget
                .left
                .fetch_add(SOCKETS.div_ceil(ROUNDS), Ordering::Relaxed);
            write(&manifests, &pods, &deaf, round)?;
            if round % 5 == 0 {
                running.kill()?;
                running = agent.start()?;
            }
            let is_at_work = || clients.iter().any(|client| !client.is_finished());
            while budget.left.load(Ordering::Relaxed) > 0 && is_at_work() {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        budget.is_over.store(true, Ordering::Relaxed);
        for client in clients {
            client
                .join()
                .map_err(|_| anyhow::anyhow!("a client panicked"))???;
        }
        eventually("no socket is counted", || Ok(active(&agent)? == 0))?;
        eventually(
            "nothing is quarantined",
            || Ok(status(&agent)?.resting == 0),
        )
        .context("a backend that left is still counted on")?;
        Ok(())
    });
}
