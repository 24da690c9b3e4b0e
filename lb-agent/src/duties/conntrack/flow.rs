//! Flows that the kernel tracks.

use std::net::SocketAddr;

use crate::catalog::Protocol;

/// A conntrack entry of UDP: the addresses as the client sees them, and as the endpoint does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    /// From the client to what it sent to.
    pub original: Tuple,
    /// From what answers (the endpoint, if the destination was translated) to what it answers to.
    pub reply: Tuple,
    /// The zone of both directions, if it is not 0 (linux/netfilter/nf_conntrack_zones_common.h).
    pub zone: Option<u16>,
    /// A hash by which the kernel tells it from a later flow with the same addresses (CTA_ID).
    pub id: u32,
}

/// One direction of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tuple {
    pub source: SocketAddr,
    pub destination: SocketAddr,
    /// The zone of this direction only, if it is not 0.
    pub zone: Option<u16>,
}

/// A new conntrack entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NewFlow {
    pub protocol: Protocol,
    pub client: SocketAddr,
    /// What the client sent to.
    pub to: SocketAddr,
    /// What answers: another address than `to` if the destination was translated.
    pub answers: SocketAddr,
    /// It is in another zone than 0, and thus not kube-proxy's.
    pub is_in_a_zone: bool,
}
