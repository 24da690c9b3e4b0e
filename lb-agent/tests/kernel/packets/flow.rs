//! A connection or flow that stays open.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use anyhow::{Context as _, Result};
use lb_testbed::{Pod, connect, patiently, stretched};

use super::scene::Protocol;

const LIMIT: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub enum Flow {
    Tcp(TcpStream),
    Udp(UdpSocket),
}

impl Flow {
    /// Opens it from a pod or machine, and asks once; returns the name of the server that answered too.
    pub fn open(client: &Pod, to: SocketAddr, protocol: Protocol) -> Result<(Self, String)> {
        let open = || match protocol {
            Protocol::Tcp => connect(to).map(Self::Tcp),
            Protocol::Udp => udp(to).map(Self::Udp),
        };
        let mut flow = client.enter(open)??;
        let name = match &mut flow {
            Self::Tcp(stream) => name_of(&read(stream, |text| text.ends_with(b"\n"))?)?,
            Self::Udp(_) => flow.ask()?,
        };
        flow.ask()
            .with_context(|| format!("{to} over {protocol:?}"))?;
        Ok((flow, name))
    }

    /// Sends a byte and waits for its answer; over UDP the name of the server, which is empty over TCP.
    pub fn ask(&mut self) -> Result<String> {
        match self {
            Self::Tcp(stream) => {
                stream.write_all(b"?")?;
                read(stream, |text| !text.is_empty())?;
                Ok(String::new())
            }
            Self::Udp(socket) => {
                socket.send(b"?")?;
                let mut answer = [0; 256];
                let length = patiently(LIMIT, || socket.recv(&mut answer))?;
                name_of(&answer[..length])
            }
        }
    }
}

fn udp(to: SocketAddr) -> io::Result<UdpSocket> {
    let any: IpAddr = match to {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.set_read_timeout(Some(stretched(LIMIT)))?;
    socket.connect(to)?;
    Ok(socket)
}

fn read(stream: &mut TcpStream, is_all: impl Fn(&[u8]) -> bool) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    while !is_all(&text) {
        let mut more = [0; 256];
        match patiently(LIMIT, || stream.read(&mut more))? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            length => text.extend(&more[..length]),
        }
    }
    Ok(text)
}

/// The first word.
fn name_of(answer: &[u8]) -> Result<String> {
    let text = String::from_utf8_lossy(answer);
    let name = text.split(' ').next().context("an empty answer")?;
    Ok(name.to_owned())
}
