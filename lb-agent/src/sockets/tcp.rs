//! What the kernel counts for one TCP connection (`struct tcp_info`, linux/tcp.h).

use netlink_packet_sock_diag::constants::{
    TCP_CLOSE_WAIT, TCP_CLOSING, TCP_FIN_WAIT2, TCP_LAST_ACK, TCP_SYN_SENT,
};
use netlink_packet_sock_diag::inet::nlas::TcpInfo;

/// The figures of a connection that its socket began with connect(2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpFigures {
    /// The smoothed round-trip time, in µs. None before the first answer.
    pub rtt_micros: Option<u32>,
    /// In ms, since the last data in either direction, or since the connection was established if there was none. None before that.
    pub idle_millis: Option<u32>,
    /// Bytes that the peer has acknowledged.
    pub sent: u64,
    /// Bytes that have arrived in order.
    pub received: u64,
}

impl TcpFigures {
    /// `state`: a number of include/net/tcp_states.h.
    pub(super) fn new(state: u8, info: &TcpInfo) -> Self {
        let is_connected = state != TCP_SYN_SENT;
        let idle = info.last_data_sent.min(info.last_data_recv);
        // The kernel counts SYN and FIN like a byte (`tcp_snd_una_update`, `tcp_rcv_nxt_update` in
        // net/ipv4/tcp_input.c), except for the peer's SYN.
        let fin_sent = u64::from(matches!(state, TCP_FIN_WAIT2));
        let fin_received = u64::from(matches!(state, TCP_CLOSE_WAIT | TCP_LAST_ACK | TCP_CLOSING));
        Self {
            rtt_micros: (info.rtt > 0).then_some(info.rtt),
            idle_millis: is_connected.then_some(idle),
            sent: info.bytes_acked.saturating_sub(1 + fin_sent),
            received: info.bytes_received.saturating_sub(fin_received),
        }
    }
}
