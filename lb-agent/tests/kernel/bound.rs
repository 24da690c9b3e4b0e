//! Sockets that are bound to an address or a device: if their packets could not reach a backend, nothing is translated.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd as _;
use std::time::Duration;
use std::{io, mem, ptr};

use anyhow::{Context as _, Result, ensure};
use lb_testbed::{
    Agent, AgentProcess, Family, NamedServer, Pod, Sandbox, ServiceManifest, SliceManifest,
    sandboxed,
};
use serde_json::json;
use socket2::{Domain, Protocol, Socket, Type};

use crate::support::{PORT, TARGET, active, agent, backends, cluster_ip};

pub const NODE_PORT: u16 = 30_080;
const CLUSTER_IPV6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x96, 0, 0, 0, 0, 0, 10);
/// The node's addresses in the sandbox.
pub const NODE: Ipv4Addr = Ipv4Addr::new(10, 244, 0, 1);
const NODE_IPV6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x244, 0, 0, 0, 0, 0, 1);

/// A dual-stack Service over TCP and UDP with NodePorts and one pod.
pub struct Node {
    pub pod: Pod,
    pub client: Pod,
    _servers: [NamedServer; 2],
    pub agent: Agent,
    _running: AgentProcess,
}

impl Node {
    pub fn start(sandbox: &Sandbox) -> Result<Self> {
        let pod = sandbox.pod("server")?;
        let client = sandbox.pod("client")?;
        let manifests = sandbox.manifests()?;
        let port = |protocol: &str| {
            json!({"name": protocol.to_lowercase(), "port": PORT, "nodePort": NODE_PORT,
                   "protocol": protocol})
        };
        let service = ServiceManifest::new("web")
            .cluster_ip(cluster_ip(10))
            .spec("clusterIPs", json!([cluster_ip(10), CLUSTER_IPV6]))
            .spec("ipFamilies", json!(["IPv4", "IPv6"]))
            .spec("type", json!("NodePort"))
            .spec("ports", json!([port("TCP"), port("UDP")]));
        let slice = |family| {
            SliceManifest::new("web", family)
                .port("tcp", TARGET)
                .udp_port("udp", TARGET)
                .address(pod.address(family))
                .to_json()
        };
        let objects = [service.to_json(), slice(Family::IPv4), slice(Family::IPv6)];
        manifests.write("web.json", objects)?;
        let agent = agent(sandbox, &manifests);
        Ok(Self {
            _servers: [
                NamedServer::tcp(&pod, TARGET, "server")?,
                NamedServer::udp(&pod, TARGET, "server")?,
            ],
            pod,
            client,
            _running: agent.start()?,
            agent,
        })
    }

    fn connections(&self) -> Result<u64> {
        let all = backends(&self.agent)?;
        Ok(all.iter().map(|backend| backend.connections).sum())
    }
}

fn socket(to: SocketAddr, kind: Type, bound: &str) -> Result<Socket> {
    let socket = Socket::new(Domain::for_address(to), kind, None)?;
    let address = bound.parse::<IpAddr>()?;
    socket
        .bind(&SocketAddr::new(address, 0).into())
        .with_context(|| format!("binding to {bound}"))?;
    Ok(socket)
}

/// Whether a connect fails as it does without socklb: there is no route from that source, no process of the host listens on
/// that port, or the packets get no answer.
fn fails(socket: &Socket, to: SocketAddr) -> bool {
    socket
        .connect_timeout(&to.into(), Duration::from_millis(200))
        .is_err()
}

/// `curl --interface 127.0.0.1`: without socklb, kube-proxy answers it.
#[test]
fn a_socket_bound_to_loopback_is_left_alone() {
    sandboxed(|sandbox| {
        let node = Node::start(sandbox)?;
        sandbox.namespace().enter(|| -> Result<()> {
            for (bound, to) in [
                (
                    "127.0.0.1",
                    SocketAddr::from((Ipv4Addr::LOCALHOST, NODE_PORT)),
                ),
                ("127.0.0.1", (NODE, NODE_PORT).into()),
                ("127.0.0.1", (cluster_ip(10), PORT).into()),
                ("127.0.0.1", (Ipv4Addr::UNSPECIFIED, NODE_PORT).into()),
                ("127.0.2.3", (cluster_ip(10), PORT).into()),
                ("::1", (Ipv6Addr::LOCALHOST, NODE_PORT).into()),
                ("::1", (NODE_IPV6, NODE_PORT).into()),
                ("::1", (CLUSTER_IPV6, PORT).into()),
                (
                    "::ffff:127.0.0.1",
                    (cluster_ip(10).to_ipv6_mapped(), PORT).into(),
                ),
            ] {
                let tcp = socket(to, Type::STREAM, bound)?;
                ensure!(fails(&tcp, to), "TCP {bound} {to}");
                let udp = socket(to, Type::DGRAM, bound)?;
                // A connected UDP socket reports its peer, whether or not the peer exists.
                let peer = match udp.connect(&to.into()) {
                    Ok(()) => udp.peer_addr()?.as_socket(),
                    Err(_) => None,
                };
                let is_own = |peer: SocketAddr| peer.port() == to.port();
                ensure!(peer.is_none_or(is_own), "UDP {bound} {to}: {peer:?}");
                let unconnected = socket(to, Type::DGRAM, bound)?;
                let _ = unconnected.send_to(b"?", &to.into());
            }
            Ok(())
        })??;
        assert_eq!((node.connections()?, active(&node.agent)?), (0, 0));
        Ok(())
    });
}

/// Routers must not forward packets from these sources (RFC 3927, 2.7; RFC 4291, 2.5.6).
#[test]
fn a_socket_bound_to_a_link_local_address_is_left_alone() {
    sandboxed(|sandbox| {
        let node = Node::start(sandbox)?;
        let address = "169.254.20.10";
        node.client.add_address(address.parse()?)?;
        node.client.enter(|| -> Result<()> {
            let to = SocketAddr::from((cluster_ip(10), PORT));
            let tcp = socket(to, Type::STREAM, address)?;
            ensure!(fails(&tcp, to));
            let udp = socket(to, Type::DGRAM, address)?;
            let _ = udp.send_to(b"?", &to.into());
            Ok(())
        })??;
        assert_eq!((node.connections()?, active(&node.agent)?), (0, 0));
        Ok(())
    });
}

#[test]
fn a_socket_bound_to_another_address_or_a_device_is_balanced() {
    sandboxed(|sandbox| {
        let node = Node::start(sandbox)?;
        node.client.enter(|| -> Result<()> {
            for (bound, to) in [
                (
                    node.client.ipv4().to_string(),
                    SocketAddr::from((cluster_ip(10), PORT)),
                ),
                (node.client.ipv6().to_string(), (CLUSTER_IPV6, PORT).into()),
            ] {
                for kind in [Type::STREAM, Type::DGRAM] {
                    let socket = socket(to, kind, &bound)?;
                    socket.connect(&to.into())?;
                    assert_eq!(socket.peer_addr()?.as_socket(), Some(to));
                }
            }
            // SO_BINDTODEVICE: the route to the pod has to lead there, as with kube-proxy's re-routing.
            for (device, is_reached) in [("eth0", true), ("lo", false)] {
                let to = SocketAddr::from((cluster_ip(10), PORT));
                let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
                socket.bind_device(Some(device.as_bytes()))?;
                socket.connect(&to.into())?;
                socket.send(b"?")?;
                socket.set_read_timeout(Some(Duration::from_millis(300)))?;
                let mut reply = [mem::MaybeUninit::uninit(); 64];
                assert_eq!(socket.recv(&mut reply).is_ok(), is_reached, "{device}");
            }
            Ok(())
        })??;
        assert_eq!(active(&node.agent)?, 0);
        Ok(())
    });
}

/// IP_PKTINFO and IPV6_PKTINFO: the caller chooses the source of one datagram.
#[test]
fn a_datagram_is_judged_by_its_own_source_address() {
    sandboxed(|sandbox| {
        let node = Node::start(sandbox)?;
        sandbox.namespace().enter(|| -> Result<()> {
            let any = [(NODE, cluster_ip(10), 1)];
            for (source, to, balanced) in
                any.into_iter()
                    .chain([(Ipv4Addr::LOCALHOST, cluster_ip(10), 0)])
            {
                let before = node.connections()?;
                let to = SocketAddr::from((to, PORT));
                let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
                let _ = send_from(&socket, source.into(), to);
                assert_eq!(node.connections()? - before, balanced, "{source}");
            }
            for (source, balanced) in [(NODE_IPV6, 1), (Ipv6Addr::LOCALHOST, 0)] {
                let before = node.connections()?;
                let to = SocketAddr::from((CLUSTER_IPV6, PORT));
                let socket = Socket::new(Domain::IPV6, Type::DGRAM, Some(Protocol::UDP))?;
                let _ = send_from(&socket, source.into(), to);
                assert_eq!(node.connections()? - before, balanced, "{source}");
            }
            Ok(())
        })??;
        Ok(())
    });
}

fn send_from(socket: &Socket, source: IpAddr, to: SocketAddr) -> io::Result<()> {
    let to = socket2::SockAddr::from(to);
    let mut byte = *b"?";
    let mut part = libc::iovec {
        iov_base: byte.as_mut_ptr().cast(),
        iov_len: 1,
    };
    let mut control = [0_u64; 8];
    // SAFETY: all bytes zero is a valid value of this plain C structure.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_name = to.as_ptr().cast_mut().cast();
    message.msg_namelen = to.len();
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control);
    match source {
        IpAddr::V4(address) => {
            let info = libc::in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: libc::in_addr {
                    s_addr: u32::from(address).to_be(),
                },
                ipi_addr: libc::in_addr { s_addr: 0 },
            };
            put(&mut message, libc::IPPROTO_IP, libc::IP_PKTINFO, info);
        }
        IpAddr::V6(address) => {
            let info = libc::in6_pktinfo {
                ipi6_addr: libc::in6_addr {
                    s6_addr: address.octets(),
                },
                ipi6_ifindex: 0,
            };
            put(&mut message, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info);
        }
    }
    // SAFETY: the message and everything that it points to outlive the call.
    match unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, 0) } {
        1 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Makes `value` the message's only control message. The buffer has room for 64 bytes.
fn put<T>(message: &mut libc::msghdr, level: i32, kind: i32, value: T) {
    let size = u32::try_from(size_of::<T>()).expect("a small structure");
    // SAFETY: the buffer of control messages is aligned, and has room for the header and the value.
    unsafe {
        let header = libc::CMSG_FIRSTHDR(message);
        (*header).cmsg_level = level;
        (*header).cmsg_type = kind;
        (*header).cmsg_len = libc::CMSG_LEN(size) as usize;
        ptr::write_unaligned(libc::CMSG_DATA(header).cast(), value);
        message.msg_controllen = libc::CMSG_SPACE(size) as usize;
    }
}

/// The hook runs before the kernel refuses the mapped address.
#[test]
fn an_ipv6_only_socket_cannot_reach_ipv4_as_without_socklb() {
    sandboxed(|sandbox| {
        let node = Node::start(sandbox)?;
        node.client.enter(|| -> Result<()> {
            let to = SocketAddr::from((cluster_ip(10).to_ipv6_mapped(), PORT));
            for kind in [Type::STREAM, Type::DGRAM] {
                let socket = Socket::new(Domain::IPV6, kind, None)?;
                socket.set_only_v6(true)?;
                let error = socket.connect(&to.into()).err();
                let code = error.and_then(|error| error.raw_os_error());
                assert_eq!(code, Some(libc::ENETUNREACH));
                // The same socket can still connect over IPv6.
                let to = SocketAddr::from((CLUSTER_IPV6, PORT));
                socket.connect(&to.into())?;
                assert_eq!(socket.peer_addr()?.as_socket(), Some(to));
            }
            Ok(())
        })??;
        assert_eq!(active(&node.agent)?, 0);
        ensure!(node.pod.name() == "server");
        Ok(())
    });
}
