//! NodePorts on the host's loopback: every local address that kube-proxy's iptables mode serves, in every spelling.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use anyhow::{Result, ensure};
use lb_testbed::{connect, sandboxed};
use socket2::{Domain, Protocol, Socket, Type};

use crate::bound::{NODE, NODE_PORT, Node};
use crate::support::{active, failure};
use crate::udp::{ask_from, socket};

/// The requested address, and the peer that the kernel would choose without socklb.
const SPELLINGS: [(&str, &str); 8] = [
    ("127.0.0.1", "127.0.0.1"),
    ("127.0.1.1", "127.0.1.1"),
    ("127.255.255.254", "127.255.255.254"),
    ("0.0.0.0", "127.0.0.1"),
    ("::1", "::1"),
    ("::", "::1"),
    ("::ffff:127.0.1.1", "::ffff:127.0.1.1"),
    ("::ffff:0.0.0.0", "::ffff:127.0.0.1"),
];

fn spellings() -> Result<Vec<(SocketAddr, SocketAddr)>> {
    let port = |address: &str| -> Result<_> { Ok(SocketAddr::new(address.parse()?, NODE_PORT)) };
    let of = |(asked, peer)| Ok((port(asked)?, port(peer)?));
    SPELLINGS.into_iter().map(of).collect()
}

#[test]
fn a_connected_socket_reports_the_requested_peer() {
    sandboxed(|sandbox| {
        let node = Node::start(sandbox)?;
        for (to, expected) in spellings()? {
            for (kind, protocol) in [
                (Type::STREAM, Protocol::TCP),
                (Type::STREAM, Protocol::MPTCP),
                (Type::DGRAM, Protocol::UDP),
            ] {
                let peer = sandbox.namespace().enter(|| -> Result<_> {
                    let socket = Socket::new(Domain::for_address(to), kind, Some(protocol))?;
                    socket.connect(&to.into())?;
                    assert_eq!(active(&node.agent)?, 1, "{to}, {protocol:?}");
                    Ok(socket.peer_addr()?.as_socket())
                })??;
                assert_eq!(peer, Some(expected), "{to}, {protocol:?}");
            }
            let error = failure(&node.client, to)?;
            assert_eq!(error.raw_os_error(), Some(libc::ECONNREFUSED), "{error}");
        }
        assert_eq!(active(&node.agent)?, 0);
        Ok(())
    });
}

#[test]
fn a_reply_comes_from_the_requested_address() {
    sandboxed(|sandbox| {
        let node = Node::start(sandbox)?;
        sandbox.namespace().enter(|| -> Result<()> {
            // Each spelling on a socket of its own, and all spellings of a family on one socket.
            let [ipv4, ipv6] = [socket(Domain::IPV4)?, socket(Domain::IPV6)?];
            for _ in 0..2 {
                for (to, expected) in spellings()? {
                    let domain = Domain::for_address(to);
                    let shared = if to.is_ipv4() { &ipv4 } else { &ipv6 };
                    for socket in [&socket(domain)?, shared] {
                        let (name, from) = ask_from(socket, to)?;
                        assert_eq!((name.as_str(), from), ("server", expected), "{to}");
                    }
                }
            }
            Ok(())
        })??;
        assert_eq!(active(&node.agent)?, 0);
        Ok(())
    });
}

/// For a bound socket the kernel replaces an unspecified destination with the socket's own address.
#[test]
fn an_unspecified_destination_resolves_as_in_the_kernel() {
    sandboxed(|sandbox| {
        let _node = Node::start(sandbox)?;
        let peer = sandbox.namespace().enter(|| -> Result<_> {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
            socket.bind(&SocketAddr::from((NODE, 0)).into())?;
            socket.connect(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, NODE_PORT)).into())?;
            Ok(socket.peer_addr()?.as_socket())
        })??;
        assert_eq!(peer, Some((NODE, NODE_PORT).into()));
        Ok(())
    });
}

#[test]
fn other_loopback_ports_reach_the_host() {
    sandboxed(|sandbox| {
        let node = Node::start(sandbox)?;
        sandbox.namespace().enter(|| -> Result<()> {
            let listener = TcpListener::bind("127.0.1.1:0")?;
            let own = listener.local_addr()?;
            ensure!(connect(own)?.peer_addr()? == own);
            Ok(())
        })??;
        assert_eq!(active(&node.agent)?, 0);
        Ok(())
    });
}
