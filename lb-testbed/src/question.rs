//! A question to a server that reports whom it sees: which backend answered, and from which address the packets came.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::client::{TIME_LIMIT, connect_from, read_line, udp_socket};
use crate::patience::patiently;

/// Longer than any answer's first line.
const LONGEST_LINE: usize = 256;

/// The answer of a server of [`crate::NamedServer::tcp_with_client`] or `udp_with_client`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The server's name.
    pub name: String,
    /// The client's address and port as the server sees them: after masquerade the node's.
    pub client: SocketAddr,
}

/// Asks from the calling thread's network namespace.
#[derive(Clone, Copy, Debug)]
pub struct Question {
    to: SocketAddr,
    from: Option<SocketAddr>,
    length: usize,
    limit: Duration,
}

impl Question {
    /// One byte, with a time limit of two seconds.
    pub fn to(server: impl Into<SocketAddr>) -> Self {
        Self {
            to: server.into(),
            from: None,
            length: 1,
            limit: TIME_LIMIT,
        }
    }

    /// From this address of the machine, with any port.
    #[must_use]
    pub fn from(self, address: impl Into<IpAddr>) -> Self {
        self.from_socket((address.into(), 0))
    }

    /// From this address and port.
    #[must_use]
    pub fn from_socket(mut self, address: impl Into<SocketAddr>) -> Self {
        self.from = Some(address.into());
        self
    }

    /// With this number of bytes, at most 65,000 over UDP. The server sends them back.
    #[must_use]
    pub const fn of_length(mut self, bytes: usize) -> Self {
        self.length = bytes;
        self
    }

    /// With another time limit, for packets that are expected to be dropped: the error is then `WouldBlock` or `TimedOut`.
    #[must_use]
    pub const fn within(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Over a new TCP connection.
    pub fn over_tcp(self) -> io::Result<Answer> {
        let mut stream = connect_from(self.from, self.to, self.limit)?;
        let line = read_line(&mut stream, self.limit)?;
        let question = self.bytes();
        let mut echo = vec![0; question.len()];
        stream.write_all(&question)?;
        let mut length = 0;
        while length < echo.len() {
            match patiently(self.limit, || stream.read(&mut echo[length..]))? {
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                more => length += more,
            }
        }
        self.read(&line, &echo)
    }

    /// Over a new UDP socket, connected to the server: it takes answers from no other address.
    pub fn over_udp(self) -> io::Result<Answer> {
        let socket = udp_socket(self.from, self.to, self.limit)?;
        socket.send(&self.bytes())?;
        let mut answer = vec![0; LONGEST_LINE + self.length];
        let length = patiently(self.limit, || socket.recv(&mut answer))?;
        let answer = &answer[..length];
        let end = answer.iter().position(|byte| *byte == b'\n');
        let (line, echo) = answer.split_at(end.map_or(length, |end| end + 1));
        self.read(String::from_utf8_lossy(line).trim_end(), echo)
    }

    fn read(self, line: &str, echo: &[u8]) -> io::Result<Answer> {
        let unexpected = || {
            let why = format!("{} answered {line:?} and {} bytes", self.to, echo.len());
            io::Error::new(ErrorKind::InvalidData, why)
        };
        let (name, client) = line.rsplit_once(' ').ok_or_else(unexpected)?;
        if echo != self.bytes() {
            return Err(unexpected());
        }
        Ok(Answer {
            name: name.to_owned(),
            client: client.parse().map_err(|_| unexpected())?,
        })
    }

    /// Bytes whose order shows if parts of them are mixed up.
    fn bytes(self) -> Vec<u8> {
        (0..=u8::MAX)
            .rev()
            .skip(4)
            .cycle()
            .take(self.length)
            .collect()
    }
}
