//! The network namespace of a client: for commands, which enter it in a thread of their own.

use std::fs::File;
use std::io;
use std::net::{IpAddr, UdpSocket};
use std::ops::ControlFlow;
use std::thread;

use nix::sched::{CloneFlags, setns};

use super::error::SocketsError;
use super::namespaces::Home;

/// Calls `ask` in the network namespace of a process.
///
/// # Errors
/// There is no such process, or its namespace may not be entered.
pub fn in_namespace_of_process<T: Send>(pid: u32, ask: impl FnOnce() -> T + Send) -> io::Result<T> {
    on_a_thread(|| {
        let namespace = File::open(format!("/proc/{pid}/ns/net"))?;
        setns(namespace, CloneFlags::CLONE_NEWNET)?;
        Ok(ask())
    })?
}

/// Calls `ask` in the network namespace that has an address, the first one that is found; none: no namespace has it.
///
/// # Errors
/// The namespaces cannot be listed.
pub fn in_namespace_of_address<T: Send>(
    address: IpAddr,
    ask: impl FnOnce() -> T + Send,
) -> Result<Option<T>, SocketsError> {
    let walked = on_a_thread(|| {
        let mut ask = Some(ask);
        let mut answer = None;
        Home::of_this_thread()?.walk(&mut |entered| {
            // Others may be entered.
            if entered.is_err() || UdpSocket::bind((address, 0)).is_err() {
                return Ok(ControlFlow::Continue(()));
            }
            answer = ask.take().map(|ask| ask());
            Ok(ControlFlow::Break(()))
        })?;
        Ok(answer)
    });
    walked.map_err(SocketsError::Namespaces)?
}

/// The thread ends in the namespace that it has entered.
fn on_a_thread<T: Send>(work: impl FnOnce() -> T + Send) -> io::Result<T> {
    let ended = thread::scope(|scope| scope.spawn(work).join());
    ended.map_err(|_| io::Error::other("the thread that enters network namespaces panicked"))
}
