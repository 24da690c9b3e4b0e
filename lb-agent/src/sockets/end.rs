//! Ends sockets whose backends have stopped serving, and connects that hang.
//!
//! A connected UDP socket stays with the backend of its `connect`. No packet tells it that the backend has stopped.
//! kube-proxy deletes the conntrack entries of such flows (pkg/proxy/conntrack/cleanup.go). Here the agent ends the
//! socket: its owner's next call fails, and an owner that continues connects again, to a backend that serves.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::sync::Arc;

use netlink_packet_sock_diag::constants::{IPPROTO_TCP, IPPROTO_UDP};
use netlink_packet_sock_diag::inet::StateFlags;

use super::diag::{AF_INET, AF_INET6, Diag, ListedSocket};
use super::error::SocketsError;
use super::namespaces::Home;

/// A socket to end if it is connected to this peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketTarget {
    pub cookie: u64,
    /// IPPROTO_TCP or IPPROTO_UDP.
    pub protocol: u8,
    pub peer: SocketAddr,
    /// Only while it waits for the answer to its SYN.
    pub is_connecting: bool,
}

/// Whether to end a socket, given its cookie. Checked immediately before, since the socket may have connected
/// elsewhere.
pub type IsStillStale = Arc<dyn Fn(u64) -> bool + Send + Sync>;

/// The results for the targets.
#[derive(Debug, Default)]
pub struct Ended {
    /// Cookies.
    pub udp: HashSet<u64>,
    pub tcp: HashSet<u64>,
    /// Sockets that the kernel did not end, and namespaces that could not be searched.
    pub failures: u64,
    /// The last of these failures.
    pub failure: Option<String>,
    /// The number of searched namespaces.
    pub namespaces: usize,
}

impl Ended {
    fn fail(&mut self, what: &str, error: &io::Error) {
        self.failures += 1;
        self.failure = Some(format!("{what}: {error}"));
    }
}

/// Ends the targets that are connected to their peers: in all network namespaces that can be entered, until every
/// target is found, or in the calling thread's own.
///
/// Does not touch a socket that is unconnected or connected to another peer, or that `is_still` does not confirm.
///
/// # Errors
/// Counts the errors of single namespaces and sockets, and continues with the rest.
pub fn end(
    home: &Home,
    may_enter: bool,
    targets: &[SocketTarget],
    is_still: &IsStillStale,
) -> Result<Ended, SocketsError> {
    let mut search = Search::new(targets);
    let mut ended = Ended::default();
    let mut visit = |entered: io::Result<u64>| {
        let searched = entered.and_then(|_| search.search_here(is_still, &mut ended));
        match searched {
            Ok(()) => ended.namespaces += 1,
            Err(error) => ended.fail("a network namespace", &error),
        }
        Ok(if search.left.is_empty() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        })
    };
    if may_enter {
        home.walk(&mut visit)?;
        return Ok(ended);
    }
    visit(Ok(0)).map(|_| ())?;
    Ok(ended)
}

/// What to search for.
struct Search {
    targets: HashMap<u64, SocketTarget>,
    /// The targets that no namespace has had so far.
    left: HashSet<u64>,
    /// Families and protocols.
    lists: Vec<(u8, u8)>,
    /// All targets are connecting.
    is_for_connects: bool,
}

impl Search {
    fn new(targets: &[SocketTarget]) -> Self {
        let mut lists = Vec::new();
        for protocol in [IPPROTO_UDP, IPPROTO_TCP] {
            let mut peers = targets.iter().filter(|target| target.protocol == protocol);
            if peers.clone().any(|target| target.peer.is_ipv4()) {
                lists.push((AF_INET, protocol));
            }
            // IPv6 sockets can have IPv4 peers.
            if peers.next().is_some() {
                lists.push((AF_INET6, protocol));
            }
        }
        Self {
            left: targets.iter().map(|target| target.cookie).collect(),
            targets: targets.iter().map(|t| (t.cookie, *t)).collect(),
            lists,
            is_for_connects: targets.iter().all(|target| target.is_connecting),
        }
    }

    fn search_here(&mut self, is_still: &IsStillStale, ended: &mut Ended) -> io::Result<()> {
        let mut diag = Diag::open()?;
        for &(family, protocol) in &self.lists {
            let mut connected = Vec::new();
            let states = match self.is_for_connects {
                true => StateFlags::SYN_SENT,
                false => states(protocol),
            };
            diag.list(family, protocol, states, |found| {
                let cookie = found.cookie();
                if let Some(target) = self.targets.get(&cookie) {
                    self.left.remove(&cookie);
                    if is_connected_to(&found, target) {
                        connected.push(found);
                    }
                }
            })?;
            // Of several sockets with the same addresses the kernel finds one at a time.
            let mut before = usize::MAX;
            while (1..before).contains(&connected.len()) {
                before = connected.len();
                connected
                    .retain(|found| is_still(found.cookie()) && !destroy(&mut diag, found, ended));
            }
        }
        Ok(())
    }
}

/// Ends a socket, and counts it. Returns false if the kernel did not find it: the socket may have ended or connected
/// elsewhere by itself.
fn destroy(diag: &mut Diag, found: &ListedSocket, ended: &mut Ended) -> bool {
    let ended_ones = match found.protocol {
        IPPROTO_UDP => &mut ended.udp,
        _ => &mut ended.tcp,
    };
    match diag.destroy(found) {
        Ok(()) => drop(ended_ones.insert(found.cookie())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return false,
        Err(error) => ended.fail("a socket", &error),
    }
    true
}

/// The states in which a target may be found. UDP includes the state of unconnected sockets, so that the search for
/// such a socket can end.
fn states(protocol: u8) -> StateFlags {
    if protocol == IPPROTO_UDP {
        StateFlags::ESTABLISHED | StateFlags::CLOSE
    } else {
        StateFlags::all() - StateFlags::TIME_WAIT - StateFlags::LISTEN
    }
}

fn is_connected_to(found: &ListedSocket, target: &SocketTarget) -> bool {
    let is_connected = match found.protocol {
        IPPROTO_UDP => found.state == StateFlags::ESTABLISHED,
        _ => !target.is_connecting || found.state == StateFlags::SYN_SENT,
    };
    is_connected && found.protocol == target.protocol && found.peer() == target.peer
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use netlink_packet_sock_diag::inet::SocketId;

    use super::*;

    const POD: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 244, 0, 7));

    fn found(protocol: u8, state: StateFlags, peer: IpAddr, port: u16) -> ListedSocket {
        ListedSocket {
            family: AF_INET,
            protocol,
            state,
            id: SocketId {
                destination_address: peer,
                destination_port: port,
                ..SocketId::new_v4()
            },
            inode: 0,
            tcp: None,
        }
    }

    #[test]
    fn only_sockets_connected_to_the_peer_are_ended() {
        let target = SocketTarget {
            cookie: 1,
            protocol: IPPROTO_UDP,
            peer: (POD, 53).into(),
            is_connecting: false,
        };
        let udp =
            |state, peer, port| is_connected_to(&found(IPPROTO_UDP, state, peer, port), &target);
        let mapped = IpAddr::from(Ipv4Addr::new(10, 244, 0, 7).to_ipv6_mapped());
        assert!(udp(StateFlags::ESTABLISHED, POD, 53));
        assert!(udp(StateFlags::ESTABLISHED, mapped, 53));
        assert!(!udp(StateFlags::CLOSE, POD, 53));
        assert!(!udp(StateFlags::ESTABLISHED, POD, 54));
        assert!(!udp(StateFlags::ESTABLISHED, [10, 244, 0, 8].into(), 53));
        let tcp = found(IPPROTO_TCP, StateFlags::ESTABLISHED, POD, 53);
        assert!(!is_connected_to(&tcp, &target));
    }

    #[test]
    fn an_established_connection_is_not_ended_as_a_connect() {
        for is_connecting in [true, false] {
            let target = SocketTarget {
                cookie: 1,
                protocol: IPPROTO_TCP,
                peer: (POD, 80).into(),
                is_connecting,
            };
            let tcp = |state| is_connected_to(&found(IPPROTO_TCP, state, POD, 80), &target);
            assert!(tcp(StateFlags::SYN_SENT));
            assert_eq!(tcp(StateFlags::ESTABLISHED), !is_connecting);
        }
    }

    #[test]
    fn an_ipv4_peer_is_searched_in_both_families() {
        let target = |protocol, peer: &str| SocketTarget {
            cookie: 1,
            protocol,
            peer: peer.parse().expect("an address"),
            is_connecting: false,
        };
        let search = Search::new(&[target(IPPROTO_UDP, "10.0.0.1:53")]);
        assert_eq!(
            search.lists,
            [(AF_INET, IPPROTO_UDP), (AF_INET6, IPPROTO_UDP)]
        );
        let search = Search::new(&[target(IPPROTO_TCP, "[fd00::1]:53")]);
        assert_eq!(search.lists, [(AF_INET6, IPPROTO_TCP)]);
    }
}
