//! One socket in the kernel's answer, decoded without an allocation: a node may have 100,000 of them.

use netlink_packet_core::{
    DecodeError, NetlinkDeserializable, NetlinkHeader, NlasIterator, Parseable as _,
};
use netlink_packet_sock_diag::constants::INET_DIAG_INFO;
use netlink_packet_sock_diag::inet::InetResponseHeader;
use netlink_packet_sock_diag::inet::nlas::TcpInfo;

use super::tcp::TcpFigures;

/// The length of `struct inet_diag_msg` (linux/inet_diag.h), in bytes. Attributes follow it.
const HEADER: usize = 72;

/// A socket, with what was asked for about it.
#[derive(Debug)]
pub(super) struct Answered {
    pub socket: InetResponseHeader,
    pub tcp: Option<TcpFigures>,
}

impl NetlinkDeserializable for Answered {
    type Error = DecodeError;

    fn deserialize(_: &NetlinkHeader, payload: &[u8]) -> Result<Self, DecodeError> {
        let socket = InetResponseHeader::parse(payload)?;
        let mut tcp = None;
        for attribute in NlasIterator::new(payload.get(HEADER..).unwrap_or_default()) {
            let attribute = attribute?;
            if attribute.kind() == INET_DIAG_INFO {
                let info = TcpInfo::parse(attribute.value())?;
                tcp = Some(TcpFigures::new(socket.state, &info));
            }
        }
        Ok(Self { socket, tcp })
    }
}
