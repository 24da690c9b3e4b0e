//! The TCP and UDP sockets of one network namespace, by inet_diag.

use std::collections::HashSet;
use std::io;

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, IPPROTO_TCP, IPPROTO_UDP};
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, SocketId, StateFlags};
use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use netlink_sys::{Socket, SocketAddr};

/// The kernel fills up to this much at a time (`netlink_dump` in net/netlink/af_netlink.c).
const ANSWER: usize = 32 * 1024;

/// Adds the cookies of the sockets of the calling thread's network namespace.
pub fn list(cookies: &mut HashSet<u64>) -> io::Result<()> {
    let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    for (family, id) in [
        (AF_INET, SocketId::new_v4()),
        (AF_INET6, SocketId::new_v6()),
    ] {
        for protocol in [IPPROTO_TCP, IPPROTO_UDP] {
            // What is in TIME_WAIT is no socket any more.
            let request = InetRequest {
                family,
                protocol,
                extensions: ExtensionFlags::empty(),
                states: StateFlags::all() - StateFlags::TIME_WAIT,
                socket_id: id.clone(),
            };
            ask(&socket, request)?;
            take_answers(&socket, cookies)?;
        }
    }
    Ok(())
}

fn ask(socket: &Socket, request: InetRequest) -> io::Result<()> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let mut message = NetlinkMessage::new(header, SockDiagMessage::InetRequest(request).into());
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    socket.send(&bytes, 0).map(drop)
}

fn take_answers(socket: &Socket, cookies: &mut HashSet<u64>) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(ANSWER);
    loop {
        bytes.clear();
        socket.recv(&mut bytes, 0)?;
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let message =
                NetlinkMessage::<SockDiagMessage>::deserialize(rest).map_err(io::Error::other)?;
            match message.payload {
                NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(socket)) => {
                    cookies.insert(cookie(socket.header.socket_id.cookie));
                }
                NetlinkPayload::Done(_) => return Ok(()),
                NetlinkPayload::Error(error) => return Err(error.to_io()),
                _ => {}
            }
            let length = (message.header.length as usize).next_multiple_of(4);
            rest = rest.get(length..).unwrap_or_default();
        }
    }
}

/// Two words, the lower one first (`sock_diag_save_cookie` in net/core/sock_diag.c).
fn cookie(bytes: [u8; 8]) -> u64 {
    let [a, b, c, d, e, f, g, h] = bytes;
    let (low, high) = (
        u32::from_ne_bytes([a, b, c, d]),
        u32::from_ne_bytes([e, f, g, h]),
    );
    u64::from(high) << 32 | u64::from(low)
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn a_socket_is_listed_while_it_lives() {
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
}
