//! Lists and deletes conntrack entries through netlink (net/netfilter/nf_conntrack_netlink.c).

use std::io;
use std::net::{IpAddr, SocketAddr};

use netlink_bindings::conntrack::{
    IterableConntrackAttrs, IterableTupleAttrs, IterableTupleIpAttrs, Nfgenmsg, OpGetDump,
    PushConntrackAttrs, PushTupleAttrs, Request,
};
use netlink_bindings::traits::{self, NetlinkRequest, Pusher};
use netlink_socket2::NetlinkSocket;
use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_NETFILTER;

use super::{Flow, Tuple};
use crate::catalog::{Family, Protocol};

/// linux/netfilter/nfnetlink.h and nfnetlink_conntrack.h: NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_DELETE.
const DELETE: u16 = 1 << 8 | 2;

const TCP: u8 = 6;
const UDP: u8 = 17;

/// CTA_FILTER_FLAG_CTA_PROTO_NUM: compare the protocol only (net/netfilter/nf_internals.h; since Linux 5.8).
const BY_PROTOCOL: u32 = 1 << 3;

/// Why conntrack entries were not deleted.
#[derive(Debug, thiserror::Error)]
pub enum ConntrackError {
    #[error("cannot list the UDP flows in conntrack: {0}; {remedy}", remedy = remedy(.0))]
    List(#[source] io::Error),
    #[error("cannot delete a UDP flow from conntrack: {0}; {remedy}", remedy = remedy(.0))]
    Delete(#[source] io::Error),
    #[error("cannot listen to new conntrack entries: {0}; {remedy}", remedy = remedy(.0))]
    Listen(#[source] io::Error),
    #[error("cannot start the thread for conntrack: {0}")]
    Thread(#[source] io::Error),
}

fn remedy(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EPERM) => "the agent needs CAP_NET_ADMIN",
        Some(libc::EINVAL | libc::EPROTONOSUPPORT | libc::EOPNOTSUPP) => {
            "the kernel needs CONFIG_NF_CT_NETLINK: load the module nf_conntrack_netlink"
        }
        _ => "the agent tries again",
    }
}

/// The flows of the network namespace in which this value was first used.
pub struct Conntrack {
    socket: NetlinkSocket,
}

impl std::fmt::Debug for Conntrack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Conntrack").finish_non_exhaustive()
    }
}

impl Default for Conntrack {
    fn default() -> Self {
        Self {
            socket: NetlinkSocket::new(),
        }
    }
}

impl Conntrack {
    /// Calls `see` with each UDP flow of one family. A flow may be missing, or be there twice, if the kernel resizes its
    /// table meanwhile.
    ///
    /// # Errors
    /// [`ConntrackError::List`].
    pub fn list(&mut self, family: Family, see: impl FnMut(Flow)) -> Result<(), ConntrackError> {
        self.try_list(family, see)
            .map_err(|error| ConntrackError::List(cause(error)))
    }

    fn try_list(&mut self, family: Family, mut see: impl FnMut(Flow)) -> io::Result<()> {
        let mut request = Request::new().op_get_dump(&header(family));
        // The kernel reads the tuple of the filter like any other, so it is complete.
        let attributes = request.encode().nested_tuple_orig();
        let attributes = push_protocol(attributes).end_nested();
        let filter = attributes.nested_filter().push_orig_flags(BY_PROTOCOL);
        filter.end_nested();
        let mut reply = self.socket.request(&request)?;
        while let Some(answer) = reply.recv() {
            let (_, entry) = answer?;
            // Older kernels list the entries of all protocols.
            if let Some(flow) = flow(&entry) {
                see(flow);
            }
        }
        Ok(())
    }

    /// Deletes a flow, if it is still the listed one. Returns false if it is not there any more.
    ///
    /// # Errors
    /// [`ConntrackError::Delete`].
    pub fn delete(&mut self, flow: &Flow) -> Result<bool, ConntrackError> {
        match self.try_delete(flow) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(ConntrackError::Delete(cause(error))),
        }
    }

    fn try_delete(&mut self, flow: &Flow) -> io::Result<()> {
        let request = Delete::new(flow);
        self.socket.request(&request)?.recv_ack()?;
        Ok(())
    }
}

/// netlink-socket2 0.3.5 takes every failure of socket(2) for EPERM.
fn cause(error: io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(libc::EPERM) => Socket::new(NETLINK_NETFILTER).err().unwrap_or(error),
        _ => error,
    }
}

fn header(family: Family) -> Nfgenmsg {
    let mut header = Nfgenmsg::new();
    let number = match family {
        Family::Ipv4 => libc::AF_INET,
        Family::Ipv6 => libc::AF_INET6,
    };
    header.nfgen_family = u8::try_from(number).unwrap_or_default();
    header
}

/// The kernel's `ctnetlink_del_conntrack`, which the bindings do not have. Without a tuple it would delete all entries.
struct Delete {
    payload: Vec<u8>,
}

impl Delete {
    fn new(flow: &Flow) -> Self {
        let family = Family::of(flow.original.source.ip());
        let mut payload = header(family).as_slice().to_vec();
        let attributes = PushConntrackAttrs::new(&mut payload).nested_tuple_orig();
        let attributes = push_tuple(attributes, &flow.original).end_nested();
        let attributes = match flow.zone {
            Some(zone) => attributes.push_zone(zone),
            None => attributes,
        };
        attributes.push_id(flow.id).end_nested();
        Self { payload }
    }
}

impl NetlinkRequest for Delete {
    fn protocol(&self) -> traits::Protocol {
        traits::Protocol::Raw {
            protonum: u16::try_from(NETLINK_NETFILTER).unwrap_or_default(),
            request_type: DELETE,
        }
    }

    fn flags(&self) -> u16 {
        0
    }

    fn payload(&self) -> &[u8] {
        &self.payload
    }

    type ReplyType<'buf> = <OpGetDump<'static> as NetlinkRequest>::ReplyType<'buf>;

    fn decode_reply(buf: &[u8]) -> Self::ReplyType<'_> {
        OpGetDump::decode_reply(buf)
    }
}

fn push_protocol<P: Pusher>(tuple: PushTupleAttrs<P>) -> PushTupleAttrs<P> {
    let protocol = tuple.nested_tuple_proto().push_proto_num(UDP);
    let protocol = protocol.push_proto_src_port(0).push_proto_dst_port(0);
    protocol.end_nested()
}

fn push_tuple<P: Pusher>(attributes: PushTupleAttrs<P>, tuple: &Tuple) -> PushTupleAttrs<P> {
    let addresses = attributes.nested_tuple_ip();
    let addresses = match (tuple.source.ip(), tuple.destination.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            addresses.push_ip_v4_src(source).push_ip_v4_dst(destination)
        }
        (source, destination) => addresses
            .push_ip_v6_src(to_ipv6(source))
            .push_ip_v6_dst(to_ipv6(destination)),
    };
    let protocol = addresses.end_nested().nested_tuple_proto();
    let attributes = protocol
        .push_proto_num(UDP)
        .push_proto_src_port(tuple.source.port())
        .push_proto_dst_port(tuple.destination.port())
        .end_nested();
    match tuple.zone {
        Some(zone) => attributes.push_tuple_zone(zone),
        None => attributes,
    }
}

/// Both addresses of a flow are of one family, so none is converted in fact.
const fn to_ipv6(address: IpAddr) -> std::net::Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

/// None for another protocol.
fn flow(entry: &IterableConntrackAttrs<'_>) -> Option<Flow> {
    let (protocol, original) = tuple(&entry.get_tuple_orig().ok()?)?;
    if protocol != Protocol::Udp {
        return None;
    }
    let (_, reply) = tuple(&entry.get_tuple_reply().ok()?)?;
    Some(Flow {
        original,
        reply,
        zone: entry.get_zone().ok(),
        id: entry.get_id().ok()?,
    })
}

/// None for another protocol than TCP and UDP.
pub(super) fn tuple(attributes: &IterableTupleAttrs<'_>) -> Option<(Protocol, Tuple)> {
    let ports = attributes.get_tuple_proto().ok()?;
    let protocol = match ports.get_proto_num().ok()? {
        TCP => Protocol::Tcp,
        UDP => Protocol::Udp,
        _ => return None,
    };
    let (source, destination) = addresses(&attributes.get_tuple_ip().ok()?)?;
    let tuple = Tuple {
        source: SocketAddr::new(source, ports.get_proto_src_port().ok()?),
        destination: SocketAddr::new(destination, ports.get_proto_dst_port().ok()?),
        zone: attributes.get_tuple_zone().ok(),
    };
    Some((protocol, tuple))
}

fn addresses(attributes: &IterableTupleIpAttrs<'_>) -> Option<(IpAddr, IpAddr)> {
    if let (Ok(source), Ok(destination)) = (attributes.get_ip_v4_src(), attributes.get_ip_v4_dst())
    {
        return Some((source.into(), destination.into()));
    }
    let source = attributes.get_ip_v6_src().ok()?;
    let destination = attributes.get_ip_v6_dst().ok()?;
    Some((source.into(), destination.into()))
}
