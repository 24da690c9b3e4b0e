//! Searches for closed sockets.

use std::collections::HashSet;
use std::io;
use std::ops::ControlFlow;

use netlink_packet_sock_diag::constants::{IPPROTO_TCP, IPPROTO_UDP};
use netlink_packet_sock_diag::inet::StateFlags;

use super::diag::{AF_INET, AF_INET6, Diag};
use super::error::SocketsError;
use super::namespaces::Home;

/// Returns the closed ones of these sockets, by their cookies.
///
/// Takes about a second on a node with very many sockets. A socket counts as open while it is in one of the kernel's
/// tables of TCP or UDP sockets, so a closed socket that still sends counts as open too. A socket that is neither bound
/// nor connected is in no table, but then it has no peer either.
///
/// `between`: called between two namespaces; the thread may be in another namespace afterwards.
///
/// # Errors
/// A single namespace that cannot be listed makes the whole result unusable.
pub fn find_closed(
    home: &Home,
    mut of: HashSet<u64>,
    between: &mut dyn FnMut(),
) -> Result<HashSet<u64>, SocketsError> {
    // List twice, since a listing may skip a socket.
    for _ in 0..2 {
        if of.is_empty() {
            break;
        }
        let mut open = HashSet::new();
        home.walk(&mut |entered| {
            entered.map_err(SocketsError::Enter)?;
            list(&mut open).map_err(SocketsError::List)?;
            between();
            Ok(ControlFlow::Continue(()))
        })?;
        of.retain(|cookie| !open.contains(cookie));
    }
    Ok(of)
}

/// Adds the cookies of the sockets in the calling thread's network namespace.
fn list(cookies: &mut HashSet<u64>) -> io::Result<()> {
    let mut diag = Diag::open()?;
    // An element in TIME_WAIT is no longer a socket.
    let states = StateFlags::all() - StateFlags::TIME_WAIT;
    for family in [AF_INET, AF_INET6] {
        for protocol in [IPPROTO_TCP, IPPROTO_UDP] {
            diag.list(family, protocol, states.clone(), |found| {
                cookies.insert(found.cookie());
            })?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn a_socket_is_listed_until_it_closes() {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback is there");
        let own = socket2::SockRef::from(&socket)
            .cookie()
            .expect("every socket has a cookie");
        let mut cookies = HashSet::new();
        list(&mut cookies).expect("the kernel lists its sockets");
        assert!(cookies.contains(&own));
        drop(socket);
        cookies.clear();
        list(&mut cookies).expect("the kernel lists its sockets");
        assert!(!cookies.contains(&own));
    }

    #[test]
    fn an_unsupported_protocol_differs_from_one_without_sockets() {
        let mut diag = Diag::open().expect("the kernel answers");
        let listed = diag.list(AF_INET, 254, StateFlags::all(), |_| {});
        assert!(listed.is_err());
    }
}
