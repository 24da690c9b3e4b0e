//! Which lists of sockets are worth asking for in a network namespace.
//!
//! The kernel has one table of TCP sockets for all namespaces, and walks all of it for each list. Most pods have no socket of one of
//! the families.

use std::fs;

use netlink_packet_sock_diag::constants::{IPPROTO_TCP, IPPROTO_UDP};

use super::diag::{AF_INET, AF_INET6};

/// The lists, and the beginnings of the lines that count their sockets.
const LISTS: [(u8, u8, &str); 4] = [
    (AF_INET, IPPROTO_TCP, "TCP: inuse "),
    (AF_INET, IPPROTO_UDP, "UDP: inuse "),
    (AF_INET6, IPPROTO_TCP, "TCP6: inuse "),
    (AF_INET6, IPPROTO_UDP, "UDP6: inuse "),
];

/// Family and protocol of each list that may contain sockets of the calling thread's network namespace.
pub(super) fn in_use() -> Vec<(u8, u8)> {
    let counts = ["sockstat", "sockstat6"].map(|name| {
        // Missing without IPv6; a list that fails says so itself.
        fs::read_to_string(format!("/proc/thread-self/net/{name}")).unwrap_or_default()
    });
    of_counts(&counts.concat())
}

/// A list whose count is not there may have sockets.
fn of_counts(counts: &str) -> Vec<(u8, u8)> {
    let is_empty = |start: &str| {
        let mut rest = counts.lines().filter_map(|line| line.strip_prefix(start));
        rest.any(|rest| rest.split(' ').next() == Some("0"))
    };
    let lists = LISTS.into_iter().filter(|(_, _, start)| !is_empty(start));
    lists
        .map(|(family, protocol, _)| (family, protocol))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use super::*;

    #[test]
    fn lists_without_sockets_are_left_out() {
        let counts = "\
            sockets: used 12\n\
            TCP: inuse 3 orphan 0 tw 0 alloc 1 mem 312\n\
            UDP: inuse 0 mem 36\n\
            TCP6: inuse 0\n\
            UDP6: inuse 10\n";
        assert_eq!(
            of_counts(counts),
            [(AF_INET, IPPROTO_TCP), (AF_INET6, IPPROTO_UDP)]
        );
        assert_eq!(of_counts("").len(), LISTS.len());
    }

    #[test]
    fn an_open_socket_has_its_list() {
        let _tcp = TcpListener::bind("127.0.0.1:0").expect("loopback is there");
        let _udp = UdpSocket::bind("[::1]:0").expect("loopback is there");
        let lists = in_use();
        assert!(lists.contains(&(AF_INET, IPPROTO_TCP)));
        assert!(lists.contains(&(AF_INET6, IPPROTO_UDP)));
    }
}
