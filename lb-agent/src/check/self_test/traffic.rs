//! Servers, and clients that ask them through a ClusterIP.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::catalog::Family;

/// Addresses for documentation (RFC 5737, RFC 3849), which no Service has.
const IPV4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const IPV6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
const PORT: u16 = 80;

/// Far more than an answer takes.
const LIMIT: Duration = Duration::from_secs(5);

/// Threads that answer with a word that only this process knows.
#[derive(Debug)]
pub(super) struct Servers {
    pub(super) family: Family,
    /// What clients ask.
    pub(super) cluster_ip: SocketAddr,
    /// Where the servers listen.
    pub(super) tcp: SocketAddr,
    pub(super) udp: SocketAddr,
    word: [u8; 8],
}

impl Servers {
    /// Starts a server for each protocol on a loopback address.
    ///
    /// # Errors
    /// The kernel does not have the family.
    pub(super) fn start(family: Family) -> io::Result<Self> {
        let (loopback, cluster_ip): (IpAddr, IpAddr) = match family {
            Family::Ipv4 => (Ipv4Addr::LOCALHOST.into(), IPV4.into()),
            Family::Ipv6 => (Ipv6Addr::LOCALHOST.into(), IPV6.into()),
        };
        let word = fastrand::u64(..).to_ne_bytes();
        let tcp = TcpListener::bind((loopback, 0))?;
        let udp = UdpSocket::bind((loopback, 0))?;
        let servers = Self {
            family,
            cluster_ip: SocketAddr::new(cluster_ip, PORT),
            tcp: tcp.local_addr()?,
            udp: udp.local_addr()?,
            word,
        };
        thread::Builder::new().spawn(move || {
            for stream in tcp.incoming().flatten() {
                // The client sees whether it got the word.
                let _ = (&stream).write_all(&word);
            }
        })?;
        thread::Builder::new().spawn(move || {
            let mut question = [0; 1];
            while let Ok((_, client)) = udp.recv_from(&mut question) {
                let _ = udp.send_to(&word, client);
            }
        })?;
        Ok(servers)
    }
}

/// Asks the servers through the ClusterIP: the right one must answer, and look like the Service.
///
/// # Errors
/// The connection fails, another answers, or the addresses are not the Service's.
pub(super) fn check(servers: &Servers) -> anyhow::Result<()> {
    over_tcp(servers)
        .with_context(|| format!("cannot connect to {} over TCP", servers.cluster_ip))?;
    over_udp(servers).with_context(|| format!("cannot ask {} over UDP", servers.cluster_ip))
}

fn over_tcp(servers: &Servers) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect_timeout(&servers.cluster_ip, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    let mut word = [0; 8];
    stream.read_exact(&mut word)?;
    ensure!(word == servers.word, "another server answered");
    let peer = stream.peer_addr()?;
    ensure!(
        peer == servers.cluster_ip,
        "getpeername returns {peer} instead"
    );
    Ok(())
}

/// By a socket that is not connected.
fn over_udp(servers: &Servers) -> anyhow::Result<()> {
    let any: IpAddr = match servers.family {
        Family::Ipv4 => Ipv4Addr::UNSPECIFIED.into(),
        Family::Ipv6 => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.set_read_timeout(Some(LIMIT))?;
    socket.send_to(b"?", servers.cluster_ip)?;
    let mut word = [0; 8];
    let (_, from) = socket.recv_from(&mut word)?;
    ensure!(word == servers.word, "another server answered");
    ensure!(
        from == servers.cluster_ip,
        "the answer comes from {from} instead"
    );
    Ok(())
}
