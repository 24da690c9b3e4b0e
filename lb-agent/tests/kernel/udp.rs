//! UDP without a connection: flows stay with their backend, and replies come from the address that was sent to.

use std::collections::BTreeSet;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_testbed::{Family, patiently, sandboxed, stretched};
use socket2::{Domain, Protocol, Socket, Type};

use crate::dns::{Dns, PORT, service, service_ipv6};
use crate::support::{active, cluster_ip, eventually, status};

/// Longer than any reply takes.
pub const LIMIT: Duration = Duration::from_secs(2);

pub fn socket(domain: Domain) -> Result<UdpSocket> {
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    let any: SocketAddr = if domain == Domain::IPV4 {
        "0.0.0.0:0".parse()?
    } else {
        "[::]:0".parse()?
    };
    socket.bind(&any.into())?;
    socket.set_read_timeout(Some(stretched(LIMIT)))?;
    Ok(socket.into())
}

/// Sends a request over an unconnected socket, and returns the name in the reply, which must come from the requested address.
pub fn ask(socket: &UdpSocket, to: SocketAddr) -> Result<String> {
    let (name, from) = ask_from(socket, to)?;
    ensure!(from == to, "{to} was asked, {from} answered");
    Ok(name)
}

/// Sends a request over an unconnected socket, and returns the name and the source of the reply.
pub fn ask_from(socket: &UdpSocket, to: SocketAddr) -> Result<(String, SocketAddr)> {
    socket
        .send_to(b"?", to)
        .with_context(|| format!("sending to {to}"))?;
    let mut reply = [0; 256];
    let (length, from) = patiently(LIMIT, || socket.recv_from(&mut reply))
        .with_context(|| format!("no reply from {to}"))?;
    let name = String::from_utf8_lossy(&reply[..length])
        .trim_end()
        .to_owned();
    Ok((name, from))
}

#[test]
fn flows_are_split_and_each_stays_with_its_backend() {
    sandboxed(|sandbox| {
        let dns = Dns::start(sandbox, 3, &[&[0, 1, 2]])?;
        dns.client.enter(|| -> Result<()> {
            for (domain, to) in [
                (Domain::IPV4, service(1)),
                (Domain::IPV6, service_ipv6(1)),
                // An IPv6 socket that sends to IPv4: sendmsg4 forward, recvmsg6 back.
                (Domain::IPV6, (cluster_ip(1).to_ipv6_mapped(), PORT).into()),
            ] {
                let mut names = BTreeSet::new();
                for _ in 0..60 {
                    let socket = socket(domain)?;
                    let name = ask(&socket, to)?;
                    for _ in 0..5 {
                        assert_eq!(ask(&socket, to)?, name, "the flow moved");
                    }
                    names.insert(name);
                }
                assert_eq!(names.len(), 3, "{to}: {names:?}");
            }
            Ok(())
        })??;
        assert_eq!(active(&dns.agent)?, 0);
        Ok(())
    });
}

#[test]
fn a_flow_ends_when_its_backend_stops_serving_and_not_before() {
    sandboxed(|sandbox| {
        let dns = Dns::start(sandbox, 2, &[&[0]])?;
        let socket = dns.client.enter(|| socket(Domain::IPV4))??;
        let first = ask(&socket, service(1))?;
        assert_eq!(first, dns.pods[0].name());
        // Terminating and still serving: it gets no new flows, and keeps those that it has.
        dns.write(1, [(0, false, true), (1, true, true)].into_iter())?;
        dns.wait_for(1, Family::IPv4, &[(0, false, true), (1, true, true)])?;
        let new = dns
            .client
            .enter(|| ask(&self::socket(Domain::IPV4)?, service(1)))??;
        assert_eq!(new, dns.pods[1].name());
        assert_eq!(ask(&socket, service(1))?, first);
        // Removed.
        dns.write(1, [(1, true, true)].into_iter())?;
        dns.wait_for(1, Family::IPv4, &[(1, true, true)])?;
        assert_eq!(ask(&socket, service(1))?, dns.pods[1].name());
        // No backend: refused at once. One again: it is used.
        dns.write(1, [].into_iter())?;
        dns.wait_for(1, Family::IPv4, &[])?;
        let error = socket
            .send_to(b"?", service(1))
            .expect_err("there is no backend");
        assert_eq!(error.raw_os_error(), Some(libc::ECONNREFUSED), "{error}");
        dns.write(1, [(0, true, true)].into_iter())?;
        dns.wait_for(1, Family::IPv4, &[(0, true, true)])?;
        assert_eq!(ask(&socket, service(1))?, first);
        drop(socket);
        eventually("nothing is left", || {
            Ok(active(&dns.agent)? == 0 && status(&dns.agent)?.resting == 0)
        })?;
        Ok(())
    });
}

#[test]
fn one_socket_can_send_to_several_services_and_to_pods() {
    sandboxed(|sandbox| {
        // Four Services over the same four pods, with a choice for each.
        let all: &[usize] = &[0, 1, 2, 3];
        let dns = Dns::start(sandbox, 5, &[all, all, all])?;
        let direct = SocketAddr::from((dns.pods[4].ipv4(), PORT));
        dns.client.enter(|| -> Result<()> {
            for _ in 0..20 {
                let socket = socket(Domain::IPV4)?;
                let first: Vec<String> = (1..=3)
                    .map(|number| ask(&socket, service(number)))
                    .collect::<Result<_>>()?;
                for round in 0..6_u8 {
                    let number = 1 + round % 3;
                    let name = ask(&socket, service(number))?;
                    assert_eq!(name, first[usize::from(number) - 1], "the flow moved");
                    assert_eq!(ask(&socket, direct)?, dns.pods[4].name());
                }
            }
            Ok(())
        })??;
        assert_eq!(active(&dns.agent)?, 0);
        Ok(())
    });
}

/// As gossip protocols do: they join through the Service, then talk to the members.
#[test]
fn a_socket_can_send_to_a_service_and_directly_to_its_pods() {
    sandboxed(|sandbox| {
        let dns = Dns::start(sandbox, 3, &[&[0, 1]])?;
        let of_family = |family| match family {
            Family::IPv4 => (Domain::IPV4, service(1)),
            Family::IPv6 => (Domain::IPV6, service_ipv6(1)),
        };
        for family in [Family::IPv4, Family::IPv6] {
            let (domain, joined) = of_family(family);
            dns.client.enter(|| -> Result<()> {
                let socket = socket(domain)?;
                let seed = ask(&socket, joined)?;
                for _ in 0..3 {
                    for pod in &dns.pods {
                        let member = SocketAddr::from((pod.address(family), PORT));
                        assert_eq!(ask(&socket, member)?, pod.name());
                    }
                    assert_eq!(ask(&socket, joined)?, seed, "the flow moved");
                }
                Ok(())
            })??;
        }
        // IPv4 over an IPv6 socket.
        dns.client.enter(|| -> Result<()> {
            let socket = socket(Domain::IPV6)?;
            let mapped = (cluster_ip(1).to_ipv6_mapped(), PORT).into();
            let seed = ask(&socket, mapped)?;
            for pod in &dns.pods {
                let member = (pod.ipv4().to_ipv6_mapped(), PORT).into();
                assert_eq!(ask(&socket, member)?, pod.name());
            }
            assert_eq!(ask(&socket, mapped)?, seed);
            Ok(())
        })??;
        assert_eq!(active(&dns.agent)?, 0);
        Ok(())
    });
}

#[test]
fn a_reply_from_a_shared_backend_names_the_last_service() {
    sandboxed(|sandbox| {
        let dns = Dns::start(sandbox, 1, &[&[0], &[0]])?;
        dns.client.enter(|| -> Result<()> {
            let socket = socket(Domain::IPV4)?;
            for round in 0..10 {
                ask(&socket, service(1 + round % 2))?;
                ask(&socket, service(1 + round % 2))?;
            }
            // Directly to the pod that both share.
            let direct = SocketAddr::from((dns.pods[0].ipv4(), PORT));
            for to in [direct, service(1), direct, service(2)] {
                ask(&socket, to)?;
            }
            Ok(())
        })??;
        Ok(())
    });
}

#[test]
fn a_connected_socket_can_send_elsewhere_and_reconnect() {
    sandboxed(|sandbox| {
        let dns = Dns::start(sandbox, 3, &[&[0], &[1]])?;
        dns.client.enter(|| -> Result<()> {
            let socket = socket(Domain::IPV4)?;
            socket.connect(service(1))?;
            assert_eq!(active(&dns.agent)?, 1);
            // Its peer is the address that it is connected to, wherever it sends meanwhile.
            socket.send_to(b"?", service(2))?;
            assert_eq!(socket.peer_addr()?, service(1));
            assert_eq!(ask(&socket, service(1))?, dns.pods[0].name());
            disconnect(&socket)?;
            assert!(socket.peer_addr().is_err());
            assert_eq!(ask(&socket, service(2))?, dns.pods[1].name());
            assert_eq!(ask(&socket, service(1))?, dns.pods[0].name());
            socket.connect(service(2))?;
            assert_eq!(socket.peer_addr()?, service(2));
            let direct = SocketAddr::from((dns.pods[2].ipv4(), PORT));
            socket.connect(direct)?;
            assert_eq!(socket.peer_addr()?, direct);
            assert_eq!(active(&dns.agent)?, 0);
            Ok(())
        })??;
        Ok(())
    });
}

/// `connect` with AF_UNSPEC: no hook runs.
fn disconnect(socket: &UdpSocket) -> Result<()> {
    let address = libc::sockaddr {
        sa_family: 0,
        sa_data: [0; 14],
    };
    let length = libc::socklen_t::try_from(size_of_val(&address))?;
    let fd = std::os::fd::AsRawFd::as_raw_fd(socket);
    // SAFETY: the address has the given length.
    let result = unsafe { libc::connect(fd, &raw const address, length) };
    ensure!(result == 0, "{}", std::io::Error::last_os_error());
    Ok(())
}

#[test]
fn large_datagrams_and_batches_are_balanced() {
    sandboxed(|sandbox| {
        let dns = Dns::start(sandbox, 2, &[&[0, 1]])?;
        dns.client.enter(|| -> Result<()> {
            let socket = socket(Domain::IPV4)?;
            // Above the MTU: fragments of one datagram.
            socket.send_to(&[b'?'; 20_000], service(1))?;
            let mut reply = [0; 256];
            let (_, from) = socket.recv_from(&mut reply)?;
            assert_eq!(from, service(1));
            // Many datagrams in one call (sendmmsg).
            let sent = send_many(&socket, service(1), 16)?;
            assert_eq!(sent, 16);
            let mut names = BTreeSet::new();
            for _ in 0..sent {
                let (length, from) = socket.recv_from(&mut reply)?;
                assert_eq!(from, service(1));
                names.insert(String::from_utf8_lossy(&reply[..length]).into_owned());
            }
            assert_eq!(names.len(), 1, "one flow, one backend: {names:?}");
            Ok(())
        })??;
        Ok(())
    });
}

fn send_many(socket: &UdpSocket, to: SocketAddr, number: usize) -> Result<usize> {
    let address = socket2::SockAddr::from(to);
    let mut byte = *b"?";
    let mut part = libc::iovec {
        iov_base: byte.as_mut_ptr().cast(),
        iov_len: 1,
    };
    // SAFETY: all bytes zero is a valid value of this plain C structure.
    let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
    message.msg_hdr.msg_name = address.as_ptr().cast_mut().cast();
    message.msg_hdr.msg_namelen = address.len();
    message.msg_hdr.msg_iov = &raw mut part;
    message.msg_hdr.msg_iovlen = 1;
    let mut messages = vec![message; number];
    let fd = std::os::fd::AsRawFd::as_raw_fd(socket);
    // SAFETY: the messages and everything that they point to outlive the call.
    let sent = unsafe { libc::sendmmsg(fd, messages.as_mut_ptr(), u32::try_from(number)?, 0) };
    usize::try_from(sent).map_err(|_| std::io::Error::last_os_error().into())
}

#[test]
fn a_reply_is_received_without_asking_for_its_address() {
    sandboxed(|sandbox| {
        let dns = Dns::start(sandbox, 1, &[&[0]])?;
        dns.client.enter(|| -> Result<()> {
            let socket = socket(Domain::IPV4)?;
            socket.send_to(b"?", service(1))?;
            let mut reply = [0; 256];
            let length = socket.recv(&mut reply)?;
            assert!(reply[..length].starts_with(dns.pods[0].name().as_bytes()));
            // A connected socket that asks for the address anyway.
            socket.connect(service(1))?;
            socket.send(b"?")?;
            let (_, from) = socket.recv_from(&mut reply)?;
            assert_eq!(from, service(1));
            Ok(())
        })??;
        Ok(())
    });
}
