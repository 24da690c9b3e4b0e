//! The servers of all endpoints. The client's thread also runs them, so that no other thread has to wake up.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;

use anyhow::{Context as _, Result};
use lb_testbed::NetworkNamespace;

use crate::pod::listen;
use crate::services::{BACKEND_PORT, BACKENDS};

#[derive(Debug)]
pub(crate) struct Server {
    listener: TcpListener,
    /// One for each address, so that an answer comes from the address that was asked.
    datagrams: Vec<UdpSocket>,
}

impl Server {
    /// Listens in a network namespace that has the addresses [`BACKENDS`].
    pub(crate) fn start(namespace: &NetworkNamespace) -> Result<Self> {
        let (listener, datagrams) = namespace.enter(|| -> Result<_> {
            let open = |address| {
                let socket = UdpSocket::bind((address, BACKEND_PORT))?;
                socket.set_nonblocking(true)?;
                Ok(socket)
            };
            let datagrams: Result<Vec<UdpSocket>> = BACKENDS.into_iter().map(open).collect();
            Ok((listen()?, datagrams?))
        })??;
        Ok(Self {
            listener,
            datagrams,
        })
    }

    /// The other end of the connection that a client has just made.
    pub(crate) fn accept(&self) -> io::Result<TcpStream> {
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => return Ok(stream),
                // The last packet is still on its way.
                Err(error) if error.kind() == ErrorKind::WouldBlock => thread::yield_now(),
                Err(error) => return Err(error),
            }
        }
    }

    /// Answers a question of one byte.
    pub(crate) fn answer(stream: &mut TcpStream) -> io::Result<()> {
        let mut question = [0];
        stream.read_exact(&mut question)?;
        stream.write_all(&question)
    }

    /// Answers the datagram that a client has just sent.
    pub(crate) fn answer_datagram(&self) -> Result<()> {
        let mut question = [0];
        loop {
            for socket in &self.datagrams {
                match socket.recv_from(&mut question) {
                    Ok((_, client)) => return reply(socket, &question, client),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error).context("cannot receive"),
                }
            }
            thread::yield_now();
        }
    }
}

fn reply(socket: &UdpSocket, answer: &[u8], client: SocketAddr) -> Result<()> {
    socket.send_to(answer, client).context("cannot answer")?;
    Ok(())
}
