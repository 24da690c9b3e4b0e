//! Finds live sockets by their cookies, in every network namespace.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::ops::ControlFlow;

use netlink_packet_sock_diag::constants::IPPROTO_TCP;
use netlink_packet_sock_diag::inet::StateFlags;

use super::ability::{Ability, Limitation};
use super::diag::{Diag, ListedSocket};
use super::error::SocketsError;
use super::in_use::in_use;
use super::namespaces::Home;
use super::tcp::TcpFigures;

/// A socket that exists.
#[derive(Clone, Debug)]
pub struct LiveSocket {
    /// SO_COOKIE.
    pub cookie: u64,
    /// The state in the kernel's words: `ESTABLISHED`. A UDP socket is `ESTABLISHED` or `UNCONNECTED`.
    pub state: &'static str,
    /// The socket's own address; unspecified if the socket is neither bound to an address nor connected.
    pub local: SocketAddr,
    /// The inode number of its network namespace.
    pub namespace: u64,
    /// The inode number of its file, as in `socket:[…]`. 0: no process has it.
    pub inode: u32,
    /// None for UDP.
    pub tcp: Option<TcpFigures>,
}

/// What was searched.
#[derive(Debug, Default)]
pub struct Searched {
    pub namespaces: usize,
    /// Network namespaces that could not be searched.
    pub failures: usize,
    /// The last of these failures.
    pub failure: Option<String>,
    /// Why network namespaces other than the caller's were not searched, or not all found.
    pub limitation: Option<Limitation>,
}

/// Calls `see` with each wanted socket and its value, and removes it from `wanted`, until that is empty: in all network namespaces
/// that the calling thread can enter, or in its own. It is in its own again afterwards.
///
/// `wanted`: TCP and UDP sockets by their cookies. Those that are left have closed, or are neither bound nor connected and so in
/// no list of the kernel, or are in a namespace that was not searched.
///
/// # Errors
/// Counts the failures of single namespaces, and continues with the next one.
pub fn find_live<T>(
    wanted: &mut HashMap<u64, T>,
    see: &mut dyn FnMut(LiveSocket, T),
) -> Result<Searched, SocketsError> {
    let ability = Ability::of_this_thread();
    let mut searched = Searched {
        limitation: ability.no_reach,
        ..Searched::default()
    };
    let mut visit = |entered: io::Result<u64>| {
        match entered.and_then(|namespace| list(namespace, wanted, see)) {
            Ok(()) => searched.namespaces += 1,
            Err(error) => {
                searched.failures += 1;
                searched.failure = Some(error.to_string());
            }
        }
        Ok(match wanted.is_empty() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        })
    };
    let home = Home::of_this_thread()?;
    if ability.may_enter {
        home.walk(&mut visit)?;
    } else {
        visit(home.number()).map(|_| ())?;
    }
    Ok(searched)
}

/// Lists the calling thread's network namespace.
fn list<T>(
    namespace: u64,
    wanted: &mut HashMap<u64, T>,
    see: &mut dyn FnMut(LiveSocket, T),
) -> io::Result<()> {
    let mut diag = Diag::open()?;
    let mut take = |found: ListedSocket| {
        let cookie = found.cookie();
        if let Some(value) = wanted.remove(&cookie) {
            see(live(cookie, namespace, &found), value);
        }
    };
    let states = StateFlags::all() - StateFlags::TIME_WAIT - StateFlags::LISTEN;
    for (family, protocol) in in_use() {
        match protocol {
            IPPROTO_TCP => diag.list_with_figures(family, protocol, states.clone(), &mut take),
            _ => diag.list(family, protocol, states.clone(), &mut take),
        }?;
    }
    Ok(())
}

fn live(cookie: u64, namespace: u64, found: &ListedSocket) -> LiveSocket {
    LiveSocket {
        cookie,
        state: state_name(found),
        local: found.local(),
        namespace,
        inode: found.inode,
        tcp: found.tcp,
    }
}

fn state_name(found: &ListedSocket) -> &'static str {
    let names = [
        (StateFlags::ESTABLISHED, "ESTABLISHED"),
        (StateFlags::SYN_SENT, "SYN_SENT"),
        (StateFlags::SYN_RECV, "SYN_RECV"),
        (StateFlags::FIN_WAIT1, "FIN_WAIT1"),
        (StateFlags::FIN_WAIT2, "FIN_WAIT2"),
        (StateFlags::CLOSE_WAIT, "CLOSE_WAIT"),
        (StateFlags::LAST_ACK, "LAST_ACK"),
        (StateFlags::CLOSING, "CLOSING"),
    ];
    let mut names = names.into_iter();
    let name = names.find(|(state, _)| *state == found.state);
    name.map_or("UNCONNECTED", |(_, name)| name)
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::fd::AsFd;

    use socket2::SockRef;

    use super::*;

    fn cookie(socket: &impl AsFd) -> u64 {
        SockRef::from(socket)
            .cookie()
            .expect("every socket has a cookie")
    }

    /// The socket as this thread's namespace lists it.
    fn find(wanted: u64) -> LiveSocket {
        let mut found = Vec::new();
        let mut wanted = HashMap::from([(wanted, "value"), (u64::MAX, "none has it")]);
        let mut see = |socket, value| found.push((socket, value));
        list(7, &mut wanted, &mut see).expect("the kernel lists its sockets");
        assert_eq!(wanted.into_keys().collect::<Vec<_>>(), [u64::MAX]);
        assert_eq!(found.len(), 1);
        let (socket, value) = found.remove(0);
        assert_eq!(value, "value");
        socket
    }

    #[test]
    fn bytes_of_a_connection_are_counted_without_syn_and_fin() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback is there");
        let address = listener.local_addr().expect("it is bound");
        let mut client = TcpStream::connect(address).expect("it listens");
        let (mut server, _) = listener.accept().expect("a client has connected");
        let figures = |client: &TcpStream| {
            let socket = find(cookie(client));
            let tcp = socket.tcp.expect("it is TCP");
            (socket.state, tcp.sent, tcp.received)
        };
        assert_eq!(figures(&client), ("ESTABLISHED", 0, 0));
        client.write_all(&[1; 1000]).expect("it is connected");
        server.read_exact(&mut [0; 1000]).expect("it has come");
        server.write_all(&[1; 300]).expect("it is connected");
        client.read_exact(&mut [0; 300]).expect("it has come");
        assert_eq!(figures(&client), ("ESTABLISHED", 1000, 300));
        client.shutdown(std::net::Shutdown::Write).expect("open");
        assert_eq!(server.read(&mut [0; 1]).expect("its end"), 0);
        // The kernel acknowledges it a little later.
        while figures(&client).0 == "FIN_WAIT1" {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        assert_eq!(figures(&client), ("FIN_WAIT2", 1000, 300));

        let socket = find(cookie(&client));
        assert_eq!(socket.namespace, 7);
        assert_eq!(socket.local, client.local_addr().expect("it is connected"));
        let tcp = socket.tcp.expect("it is TCP");
        assert!(tcp.rtt_micros.is_some() && tcp.idle_millis.is_some());
    }

    #[test]
    fn the_end_that_the_peer_sends_is_not_counted() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback is there");
        let address = listener.local_addr().expect("it is bound");
        let mut client = TcpStream::connect(address).expect("it listens");
        let (mut server, _) = listener.accept().expect("a client has connected");
        server.write_all(&[1; 300]).expect("it is connected");
        server.shutdown(std::net::Shutdown::Write).expect("open");
        let mut all = Vec::new();
        client.read_to_end(&mut all).expect("its end");
        let socket = find(cookie(&client));
        assert_eq!(socket.state, "CLOSE_WAIT");
        assert_eq!(socket.tcp.map(|tcp| tcp.received), Some(300));
    }

    #[test]
    fn a_udp_socket_is_connected_or_not() {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback is there");
        let found = find(cookie(&socket));
        assert_eq!((found.state, found.tcp), ("UNCONNECTED", None));
        socket.connect("127.0.0.1:9").expect("loopback is there");
        assert_eq!(find(cookie(&socket)).state, "ESTABLISHED");
    }
}
