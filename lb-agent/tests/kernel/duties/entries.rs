//! Makes conntrack entries through netlink, without a packet.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use anyhow::{Context as _, Result};
use netlink_bindings::conntrack::{Nfgenmsg, OpGetDump, PushConntrackAttrs, PushTupleAttrs};
use netlink_bindings::traits::{self, NetlinkRequest, Pusher};
use netlink_socket2::NetlinkSocket;

pub const TCP: u8 = 6;
pub const UDP: u8 = 17;

/// A request for a new entry (IPCTNL_MSG_CT_NEW), which the bindings do not have.
struct New(Vec<u8>);

/// An entry's protocol, client, destination, answering address, and zone of the original direction or of both.
#[derive(Clone, Copy)]
pub struct Entry<'a> {
    pub protocol: u8,
    pub client: &'a str,
    pub to: &'a str,
    pub answers: &'a str,
    pub zone_of_original: Option<u16>,
    pub zone: Option<u16>,
}

impl New {
    fn of(entry: &Entry<'_>) -> Result<Self> {
        let (client, to, answers) = (
            entry.client.parse()?,
            entry.to.parse()?,
            entry.answers.parse()?,
        );
        let mut header = Nfgenmsg::new();
        let family = match client {
            SocketAddr::V4(_) => libc::AF_INET,
            SocketAddr::V6(_) => libc::AF_INET6,
        };
        header.nfgen_family = u8::try_from(family)?;
        let mut payload = header.as_slice().to_vec();
        let original = PushConntrackAttrs::new(&mut payload).nested_tuple_orig();
        let mut original = tuple(original, entry.protocol, client, to);
        if let Some(zone) = entry.zone_of_original {
            original = original.push_tuple_zone(zone);
        }
        let reply = original.end_nested().nested_tuple_reply();
        let mut attributes = tuple(reply, entry.protocol, answers, client).end_nested();
        if let Some(zone) = entry.zone {
            attributes = attributes.push_zone(zone);
        }
        attributes.push_timeout(600).end_nested();
        Ok(Self(payload))
    }
}

fn tuple<P: Pusher>(
    tuple: PushTupleAttrs<P>,
    protocol: u8,
    source: SocketAddr,
    destination: SocketAddr,
) -> PushTupleAttrs<P> {
    let ip = tuple.nested_tuple_ip();
    let ip = match (source.ip(), destination.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            ip.push_ip_v4_src(source).push_ip_v4_dst(destination)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            ip.push_ip_v6_src(source).push_ip_v6_dst(destination)
        }
        _ => ip.push_ip_v6_src(Ipv6Addr::UNSPECIFIED),
    };
    let ports = ip
        .end_nested()
        .nested_tuple_proto()
        .push_proto_num(protocol);
    let ports = ports.push_proto_src_port(source.port());
    ports.push_proto_dst_port(destination.port()).end_nested()
}

impl NetlinkRequest for New {
    fn protocol(&self) -> traits::Protocol {
        traits::Protocol::Raw {
            protonum: 12,
            request_type: 1 << 8,
        }
    }

    fn flags(&self) -> u16 {
        0x400 | 0x200 // NLM_F_CREATE | NLM_F_EXCL
    }

    fn payload(&self) -> &[u8] {
        &self.0
    }

    type ReplyType<'buf> = <OpGetDump<'static> as NetlinkRequest>::ReplyType<'buf>;

    fn decode_reply(buf: &[u8]) -> Self::ReplyType<'_> {
        OpGetDump::decode_reply(buf)
    }
}

pub fn create(entries: &[Entry<'_>]) -> Result<()> {
    let mut socket = NetlinkSocket::new();
    for entry in entries {
        let created = socket.request(&New::of(entry)?)?.recv_ack();
        created.with_context(|| format!("cannot make an entry to {}", entry.to))?;
    }
    Ok(())
}
