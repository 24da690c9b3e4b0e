//! The TCP server's loop: one thread, one epoll, so that two processors can serve tens of thousands of short
//! connections a second and still run the clients.

use std::collections::HashMap;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::os::fd::AsRawFd as _;

use anyhow::{Context as _, Result};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::ServerTask;

const EVENTS_AT_ONCE: usize = 256;
/// Keys of the two that are not connections, whose keys are their file descriptors.
const LISTENER: u64 = u64::MAX;
const STOP: u64 = u64::MAX - 1;

pub(super) fn serve(task: &ServerTask) -> Result<()> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).context("cannot make an epoll")?;
    epoll.add(&task.socket, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))?;
    epoll.add(task.stop_fd(), EpollEvent::new(EpollFlags::EPOLLIN, STOP))?;
    let mut open = HashMap::new();
    let mut events = [EpollEvent::empty(); EVENTS_AT_ONCE];
    loop {
        let count = match epoll.wait(&mut events, EpollTimeout::NONE) {
            Err(Errno::EINTR) => continue,
            result => result.context("cannot wait for clients")?,
        };
        for event in &events[..count] {
            match event.data() {
                STOP => return Ok(()),
                LISTENER => accept_all(task, &epoll, &mut open)?,
                key => {
                    if open
                        .get_mut(&key)
                        .is_some_and(|stream| !goes_on(event.events(), stream))
                        && let Some(stream) = open.remove(&key)
                    {
                        // Closing would not do: a process that is just being started shares the socket until it
                        // execs, and the key is another connection's by then.
                        epoll.delete(&stream)?;
                    }
                }
            }
        }
    }
}

fn accept_all(task: &ServerTask, epoll: &Epoll, open: &mut HashMap<u64, TcpStream>) -> Result<()> {
    loop {
        let (mut stream, client): (TcpStream, _) = match task.socket.accept() {
            Ok((socket, client)) => (socket.into(), client.as_socket()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            // The client has closed already, or there are no free file descriptors.
            Err(_) => return Ok(()),
        };
        task.count();
        // A new socket's buffer takes a name whole; a client that has gone shows in the epoll.
        let asked = stream.local_addr().ok().map(|address| address.ip());
        let _ = stream.write(task.greeting(asked, client).as_bytes());
        stream
            .set_nonblocking(true)
            .context("cannot make a connection non-blocking")?;
        let key = u64::try_from(stream.as_raw_fd()).context("a negative file descriptor")?;
        epoll.add(
            &stream,
            EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP, key),
        )?;
        open.insert(key, stream);
    }
}

/// Echoes what the client sent; false when it has closed.
fn goes_on(events: EpollFlags, stream: &mut TcpStream) -> bool {
    if events.intersects(EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP) {
        return false;
    }
    let mut data = [0; 4096];
    match stream.read(&mut data) {
        Ok(0) => false,
        Ok(length) => stream.write_all(&data[..length]).is_ok(),
        Err(error) => error.kind() == ErrorKind::WouldBlock,
    }
}
