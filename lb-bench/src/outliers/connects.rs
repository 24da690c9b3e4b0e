//! The client of the bench: it connects at a steady rate.

use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use anyhow::Result;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::{Domain, Socket, Type};

use crate::services::frontend;

/// The time between two connects.
pub(super) const EVERY: Duration = Duration::from_millis(5);

/// The client gives up.
pub(super) const PATIENCE: Duration = Duration::from_secs(4);

/// A connect of the client.
#[derive(Clone, Copy, Debug)]
pub(super) struct Connect {
    pub(super) began: Instant,
    /// Until it was established or failed.
    pub(super) took: Duration,
    pub(super) is_well: bool,
}

/// Connects at a steady rate, and returns all connects when the last one is over.
pub(super) fn connect_steadily(length: Duration) -> Result<Vec<Connect>> {
    let to = SocketAddr::from(frontend(0));
    let start = Instant::now();
    let mut next = start;
    let mut pending: Vec<(Instant, Socket)> = Vec::new();
    let mut done = Vec::new();
    while next < start + length || !pending.is_empty() {
        if Instant::now() >= next && next < start + length {
            next += EVERY;
            let began = Instant::now();
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
            socket.set_nonblocking(true)?;
            socket.set_linger(Some(Duration::ZERO))?;
            match socket.connect(&to.into()) {
                Err(error) if error.raw_os_error() == Some(nix::libc::EINPROGRESS) => {
                    pending.push((began, socket));
                }
                result => done.push(Connect {
                    began,
                    took: began.elapsed(),
                    is_well: result.is_ok(),
                }),
            }
        }
        let mut polled: Vec<PollFd<'_>> = pending
            .iter()
            .map(|(_, socket)| PollFd::new(socket.as_fd(), PollFlags::POLLOUT))
            .collect();
        poll(&mut polled, PollTimeout::from(1_u8))?;
        let ready: Vec<bool> = polled.iter().map(|fd| fd.any() == Some(true)).collect();
        let mut ready = ready.into_iter();
        pending.retain(|(began, socket)| {
            let took = began.elapsed();
            if ready.next() == Some(true) {
                done.push(Connect {
                    began: *began,
                    took,
                    is_well: matches!(socket.take_error(), Ok(None)),
                });
                return false;
            }
            if took >= PATIENCE {
                done.push(Connect {
                    began: *began,
                    took,
                    is_well: false,
                });
                return false;
            }
            true
        });
    }
    done.sort_by_key(|connect| connect.began);
    Ok(done)
}
