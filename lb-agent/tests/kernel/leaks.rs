//! However a socket ends, nothing of it stays in the tables.

use std::io::{self, IoSlice, Read as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command};

use anyhow::{Context as _, Result, ensure};
use lb_testbed::{Agent, Cgroup, NamedServer, Pod, Sandbox, ServiceManifest, SliceManifest};
use lb_testbed::{AgentProcess, Family, connect, die_with_parent, sandboxed};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use socket2::{Domain, Protocol, Socket, Type};

use crate::support::{
    PORT, TARGET, Web, active, agent, cluster_ip, eventually, leave_entry, write_service,
};

const TO: SocketAddr = Web::ADDRESS;

/// The Service `web` over TCP and UDP with one pod, and an agent that sweeps every second.
struct Node {
    pod: Pod,
    client: Pod,
    _servers: [NamedServer; 2],
    agent: Agent,
    running: AgentProcess,
}

impl Node {
    fn start(sandbox: &Sandbox) -> Result<Self> {
        let pod = sandbox.pod("server")?;
        let manifests = sandbox.manifests()?;
        let service = ServiceManifest::new("web")
            .cluster_ip(TO.ip())
            .port("tcp", PORT)
            .udp_port("udp", PORT);
        let slice = SliceManifest::new("web", Family::IPv4)
            .port("tcp", TARGET)
            .udp_port("udp", TARGET)
            .address(pod.ipv4());
        manifests.write("web.json", [service.to_json(), slice.to_json()])?;
        let client = sandbox.pod("client")?;
        // No server listens there.
        write_service(
            &manifests,
            "nobody",
            cluster_ip(11),
            &[client.ipv4().into()],
        )?;
        let agent = agent(sandbox, &manifests).arg("--sweep-interval").arg("1s");
        Ok(Self {
            _servers: [
                NamedServer::tcp(&pod, TARGET, "server")?,
                NamedServer::udp(&pod, TARGET, "server")?,
            ],
            client,
            pod,
            running: agent.start()?,
            agent,
        })
    }

    fn active(&self) -> Result<u64> {
        active(&self.agent)
    }

    /// One socket of each kind, each of which counts: TCP, connected UDP, and UDP that only sent.
    fn sockets(&self) -> Result<Vec<OwnedFd>> {
        let sockets = self.client.enter(|| -> io::Result<Vec<OwnedFd>> {
            let connected = UdpSocket::bind("0.0.0.0:0")?;
            connected.connect(TO)?;
            let sent = UdpSocket::bind("0.0.0.0:0")?;
            sent.send_to(b"?", TO)?;
            Ok(vec![connect(TO)?.into(), connected.into(), sent.into()])
        })??;
        ensure!(self.active()? >= 3, "they are counted");
        Ok(sockets)
    }
}

/// A process that has copies of these and does nothing with them.
pub fn heir(sockets: &[OwnedFd]) -> Result<Child> {
    for socket in sockets {
        fcntl(socket, FcntlArg::F_SETFD(FdFlag::empty()))?;
    }
    let heir = die_with_parent(Command::new("sleep").arg("600")).spawn();
    for socket in sockets {
        fcntl(socket, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    }
    heir.context("`sleep` cannot be started")
}

#[test]
fn a_killed_process_leaves_no_entries() {
    sandboxed(|sandbox| {
        let node = Node::start(sandbox)?;
        let sockets = node.sockets()?;
        let mut heir = heir(&sockets)?;
        drop(sockets);
        assert_eq!(node.active()?, 3, "another process has them");
        heir.kill()?;
        heir.wait()?;
        eventually("nothing is active", || Ok(node.active()? == 0))
    });
}

#[test]
fn a_destroyed_socket_leaves_no_entry() {
    sandboxed(|sandbox| {
        let node = Node::start(sandbox)?;
        let mut sockets = node.sockets()?;
        for kind in ["--tcp", "--udp"] {
            let ss = node
                .client
                .command("ss")
                .args(["--kill", kind, "dst", &node.pod.ipv4().to_string()])
                .output()
                .context("`ss` cannot be run: install iproute2")?;
            ensure!(
                ss.status.success(),
                "{}",
                String::from_utf8_lossy(&ss.stderr)
            );
        }
        let mut stream = TcpStream::from(sockets.remove(0));
        let error = stream
            .read(&mut [0; 64])
            .and_then(|_| stream.read(&mut [0; 64]));
        let error = error.err().and_then(|error| error.raw_os_error());
        assert_eq!(error, Some(libc::ECONNABORTED));
        drop((stream, sockets));
        assert_eq!(node.active()?, 0);
        Ok(())
    });
}

#[test]
fn a_disconnected_socket_leaves_no_entry() {
    sandboxed(|sandbox| {
        let node = Node::start(sandbox)?;
        for socket in node.sockets()? {
            disconnect(&socket)?;
            disconnect(&socket)?;
        }
        assert_eq!(node.active()?, 0);
        for (left, socket) in [2, 1, 0].into_iter().zip(node.sockets()?) {
            disconnect(&socket)?;
            let socket = Socket::from(socket);
            let direct = SocketAddr::from((node.pod.ipv4(), TARGET));
            socket.connect(&direct.into())?;
            let peer = socket.peer_addr()?.as_socket();
            assert_eq!(peer, Some(direct), "not the Service of before");
            assert_eq!(node.active()?, left, "it is not counted any more");
        }
        Ok(())
    });
}

/// `connect(2)` with AF_UNSPEC, which no hook sees.
pub fn disconnect(socket: &impl AsRawFd) -> io::Result<()> {
    let nowhere = libc::sockaddr {
        sa_family: 0,
        sa_data: [0; 14],
    };
    let length = libc::socklen_t::try_from(size_of_val(&nowhere)).map_err(io::Error::other)?;
    // SAFETY: an address of the given length.
    match unsafe { libc::connect(socket.as_raw_fd(), &raw const nowhere, length) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[test]
fn repeated_failed_connects_leave_no_entry() {
    sandboxed(|sandbox| {
        let node = Node::start(sandbox)?;
        let nobody = SocketAddr::from((cluster_ip(11), PORT));
        node.client.enter(|| -> Result<()> {
            for is_blocking in [true, false] {
                let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
                socket.set_nonblocking(!is_blocking)?;
                for _ in 0..20 {
                    let error = socket.connect(&nobody.into()).err();
                    let error = error.and_then(|error| error.raw_os_error());
                    ensure!(
                        matches!(
                            error,
                            Some(libc::ECONNREFUSED | libc::EINPROGRESS | libc::EALREADY)
                        ),
                        "{error:?}"
                    );
                    assert!(node.active()? <= 1);
                }
            }
            Ok(())
        })??;
        assert_eq!(node.active()?, 0);
        Ok(())
    });
}

#[test]
fn unanswered_sockets_leave_no_entry() {
    sandboxed(|sandbox| {
        let node = Node::start(sandbox)?;
        let (sender, receiver) = UnixStream::pair()?;
        let sockets = node.sockets()?;
        send_to_nobody(&sender, &sockets)?;
        drop(sockets);
        assert_eq!(node.active()?, 3, "they are on their way");
        drop((sender, receiver));
        eventually("nothing is active", || Ok(node.active()? == 0))
    });
}

/// Sends copies of sockets without receiving them (SCM_RIGHTS).
pub fn send_to_nobody(sender: &UnixStream, sockets: &[OwnedFd]) -> io::Result<()> {
    let raw: Vec<_> = sockets.iter().map(AsRawFd::as_raw_fd).collect();
    sendmsg::<()>(
        sender.as_raw_fd(),
        &[IoSlice::new(b"!")],
        &[ControlMessage::ScmRights(&raw)],
        MsgFlags::empty(),
        None,
    )?;
    Ok(())
}

#[test]
fn sockets_of_a_removed_cgroup_leave_no_entries() {
    sandboxed(|sandbox| {
        let node = Node::start(sandbox)?;
        let home = Cgroup::at(sandbox.cgroup());
        let inner = home.child("inner")?;
        inner.join()?;
        let sockets = node.sockets()?;
        home.join()?;
        inner.remove()?;
        assert_eq!(node.active()?, 3);
        for socket in &sockets[1..] {
            let socket = Socket::from(socket.try_clone()?);
            socket.connect(&TO.into())?;
            assert_eq!(socket.peer_addr()?.as_socket(), Some(TO), "still balanced");
        }
        drop(sockets);
        assert_eq!(node.active()?, 0);
        Ok(())
    });
}

/// The release hook sees the MPTCP socket, the connect hook its first subflow.
#[test]
fn an_mptcp_socket_leaves_no_entry() {
    sandboxed(|sandbox| {
        let node = Node::start(sandbox)?;
        let sockets = node.client.enter(|| [mptcp(TO), mptcp(TO)])?;
        let [first, second] = sockets;
        assert_eq!(node.active()?, 2);
        drop(first?);
        assert_eq!(node.active()?, 1);
        let mut name = [0; 7];
        second?.read_exact(&mut name)?;
        assert_eq!(&name, b"server\n");
        assert_eq!(node.active()?, 0);
        Ok(())
    });
}

#[test]
fn an_mptcp_socket_that_fails_and_reconnects_leaves_no_entry() {
    sandboxed(|sandbox| {
        let node = Node::start(sandbox)?;
        node.client.enter(|| -> Result<()> {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::MPTCP))?;
            let nobody = SocketAddr::from((cluster_ip(11), PORT));
            let refused = socket.connect(&nobody.into()).err();
            let refused = refused.and_then(|error| error.raw_os_error());
            assert_eq!(refused, Some(libc::ECONNREFUSED));
            disconnect(&socket)?;
            socket.connect(&TO.into())?;
            assert_eq!(socket.peer_addr()?.as_socket(), Some(TO));
            assert_eq!(node.active()?, 1);
            Ok(())
        })??;
        assert_eq!(node.active()?, 0);
        Ok(())
    });
}

fn mptcp(to: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::MPTCP))?;
    socket.connect(&to.into())?;
    Ok(socket.into())
}

/// No hook runs when a kernel socket closes: its entry is swept, but no entry of an open socket.
#[test]
fn kernel_sockets_are_swept_after_they_close() {
    sandboxed(|sandbox| {
        let mut node = Node::start(sandbox)?;
        let living = node.client.enter(|| connect(TO))??;
        leave_entry(&node.agent, &node.client, TO)?;
        let swept = node.running.wait_for_event("sweep.finished")?;
        assert_eq!(swept["count"], 1);
        assert_eq!(node.active()?, 1);
        assert_eq!(living.peer_addr()?, TO);
        Ok(())
    });
}
