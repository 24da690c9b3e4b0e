//! FLOWS and REPLIES: what ORIGINS cannot store about a socket, which has room for one frontend.
//!
//! Such a socket is an unconnected UDP socket that sends to several frontends, or to a frontend and directly to its
//! backend; or it sent to a frontend by another loopback address of the host. A reply contains only its source, so two
//! destinations of one socket should not share a backend's address. If they must, the reply is reported with the
//! destination that the socket last sent to. (kube-proxy's conntrack tells them apart by port.)

use lb_common::FrontendKey;
use lb_common::flow::{FlowKey, Reply, ReplyKey};

use crate::ctx::Peer;
use crate::maps;

/// The backend id of a flow.
#[inline(always)]
pub fn find(cookie: u64, frontend: u32) -> Option<u32> {
    let id = maps::FLOWS.get_ptr(key(cookie, frontend))?;
    // SAFETY: the look-up gave a 32-bit value. The kernel may reuse the element for another flow meanwhile: the caller
    // detects that by the service port of the backend.
    Some(unsafe { id.read_volatile() })
}

/// Stores the backend of a flow. A full map evicts another flow, and there is nothing to do about an error.
#[inline(always)]
pub fn remember(cookie: u64, frontend: u32, backend: u32) {
    let _ = maps::FLOWS.insert(key(cookie, frontend), backend, 0);
}

#[inline(always)]
const fn key(cookie: u64, frontend: u32) -> FlowKey {
    FlowKey {
        cookie,
        frontend,
        zero: 0,
    }
}

/// Whether replies from a backend are reported with another address than the requested one.
#[inline(always)]
pub fn is_taken(cookie: u64, backend: Peer, requested: &FrontendKey) -> bool {
    reply(cookie, backend).is_some_and(|reply| !is_requested(&reply, requested))
}

/// From now on replies from a backend are reported with the requested address.
#[inline(always)]
pub fn expect_reply(cookie: u64, backend: Peer, requested: &FrontendKey) {
    // Most often the element exists: a look-up is cheaper than an insert.
    if reply(cookie, backend).is_some_and(|reply| is_requested(&reply, requested)) {
        return;
    }
    let wanted = Reply {
        address: requested.address,
        port: u32::from(requested.port),
    };
    let _ = maps::REPLIES.insert(reply_key(cookie, backend), wanted, 0);
}

/// The address that replies from a backend are reported with.
#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "a port, stored in 32 bits so that the value has no padding"
)]
pub fn reply(cookie: u64, backend: Peer) -> Option<Peer> {
    let reply = maps::REPLIES.get_ptr(reply_key(cookie, backend))?;
    // SAFETY: the look-up gave a value. The kernel may reuse the element for another socket meanwhile: then one
    // datagram of a socket whose element was evicted is reported with a wrong source, a price of LRU maps.
    let reply = unsafe { &*reply };
    Some(Peer {
        address: reply.address,
        port: reply.port as u16,
    })
}

#[inline(always)]
fn is_requested(reply: &Peer, requested: &FrontendKey) -> bool {
    reply.is(&Peer {
        address: requested.address,
        port: requested.port,
    })
}

#[inline(always)]
fn reply_key(cookie: u64, backend: Peer) -> ReplyKey {
    ReplyKey {
        cookie,
        address: backend.address,
        port: u32::from(backend.port),
        zero: 0,
    }
}
