//! Connected UDP sockets are ended when their backend stops serving, so that their owners connect again. No other sockets are
//! ended.

mod capabilities;
mod drain;
mod namespaces;
mod others;
mod resolver;
mod tcp;

use std::io;
use std::net::{SocketAddr, UdpSocket};

use anyhow::{Context as _, Result, ensure};
use lb_agent::serve::TerminationStatus;
use lb_testbed::{Agent, Pod, patiently};
use socket2::Domain;

use crate::dns::{PORT, service, service_ipv6};
use crate::support::{cluster_ip, eventually, status};
use crate::udp;

/// The kinds of sockets, with the address of Service 1 for each: IPv4, IPv6, and IPv6 with a mapped address.
fn kinds() -> [(Domain, SocketAddr); 3] {
    let mapped = (cluster_ip(1).to_ipv6_mapped(), PORT).into();
    [
        (Domain::IPV4, service(1)),
        (Domain::IPV6, service_ipv6(1)),
        (Domain::IPV6, mapped),
    ]
}

/// A socket that is connected, in the calling thread's network namespace.
fn connected(domain: Domain, to: SocketAddr) -> Result<UdpSocket> {
    let socket = udp::socket(domain)?;
    socket
        .connect(to)
        .with_context(|| format!("connecting to {to}"))?;
    Ok(socket)
}

/// One of each kind, in the calling thread's network namespace.
fn connected_here() -> Result<Vec<UdpSocket>> {
    let connect = |(domain, to)| connected(domain, to);
    kinds().into_iter().map(connect).collect()
}

/// One of each kind, in a pod.
fn connected_in(pod: &Pod) -> Result<Vec<UdpSocket>> {
    pod.enter(connected_here)?
}

/// Returns the pod that answers to a connected socket.
fn asked(socket: &UdpSocket) -> io::Result<String> {
    socket.send(b"?")?;
    let mut reply = [0; 256];
    let length = patiently(udp::LIMIT, || socket.recv(&mut reply))?;
    Ok(String::from_utf8_lossy(&reply[..length])
        .trim_end()
        .to_owned())
}

/// Waits until a socket is no longer connected.
fn wait_until_ended(socket: &UdpSocket) -> Result<()> {
    eventually("the socket is ended", || Ok(is_ended(socket)))
}

/// Waits until this many sockets have been ended, and checks that there were no failures.
fn wait_for_counts(agent: &Agent, udp: u64, tcp: u64) -> Result<()> {
    let mut now = TerminationStatus::default();
    eventually("ended sockets are counted", || {
        now = status(agent)?.socket_termination;
        Ok((now.udp, now.tcp) == (udp, tcp))
    })
    .with_context(|| format!("{now:?}"))?;
    ensure!(now.failures == 0, "{now:?}");
    Ok(())
}

fn is_ended(socket: &UdpSocket) -> bool {
    let error = socket.peer_addr().err();
    error.and_then(|error| error.raw_os_error()) == Some(libc::ENOTCONN)
}

/// Reconnects an ended socket, as its owner would, and returns the pod that answers.
fn ask_again(socket: &UdpSocket, to: SocketAddr) -> Result<String> {
    let error = socket.take_error()?.and_then(|error| error.raw_os_error());
    ensure!(error == Some(libc::ECONNABORTED), "{error:?}");
    socket.connect(to)?;
    ensure!(socket.peer_addr()? == to);
    asked(socket).with_context(|| format!("asking {to} again"))
}

/// Checks that the owner gets an error from its next call, whichever that is.
fn check_error_reported(socket: &UdpSocket) -> Result<()> {
    let number = |result: io::Result<usize>| result.err().and_then(|error| error.raw_os_error());
    let sent = number(socket.send(b"?"));
    ensure!(sent == Some(libc::EDESTADDRREQ), "send: {sent:?}");
    let received = number(socket.recv(&mut [0; 256]));
    ensure!(received == Some(libc::ECONNABORTED), "recv: {received:?}");
    Ok(())
}
