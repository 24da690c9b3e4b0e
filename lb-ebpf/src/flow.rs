//! A socket whose peers ORIGINS alone cannot name: FLOWS and REPLIES.
//!
//! Such a socket is an unconnected UDP socket that sends to more than one frontend, or to a frontend and straight to its
//! backend; or it asked for a frontend by another of the host's loopback addresses. A reply shows only its source, so two
//! destinations of one socket should not share a backend's address. Where they must, the reply names the destination that
//! the socket last sent to (kube-proxy's conntrack tells them apart by port).

use lb_common::flow::{FlowKey, Reply, ReplyKey};
use lb_common::{Address, Backend, FrontendKey};

use crate::maps;

/// The backend id of a flow.
#[inline(always)]
pub fn find(cookie: u64, frontend: u32) -> Option<u32> {
    let id = maps::FLOWS.get_ptr(key(cookie, frontend))?;
    // SAFETY: the look-up gave a value of 32 bits; another flow's, if its element was reused meanwhile, is caught
    // by the service port of its backend.
    Some(unsafe { id.read_volatile() })
}

/// Remembers a flow's backend. A full map pushes out another flow; nothing can be done about an error.
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

/// Whether replies from a backend are reported as another address than this one.
#[inline(always)]
pub fn is_taken(cookie: u64, backend: &Backend, asked: &FrontendKey) -> bool {
    is_taken_from(cookie, backend.address, backend.port, asked)
}

/// As [`is_taken`]. `address`, `port`: the backend's, in network byte order.
#[inline(always)]
pub fn is_taken_from(cookie: u64, address: Address, port: u16, asked: &FrontendKey) -> bool {
    reply(cookie, address, port).is_some_and(|reply| !names(reply, asked))
}

/// From now on replies from this backend are reported as from the address that was asked.
#[inline(always)]
pub fn expect_reply(cookie: u64, backend: &Backend, asked: &FrontendKey) {
    expect_reply_from(cookie, backend.address, backend.port, asked);
}

/// As [`expect_reply`]. `address`, `port`: the backend's, in network byte order.
#[inline(always)]
pub fn expect_reply_from(cookie: u64, address: Address, port: u16, asked: &FrontendKey) {
    // Most often it is there: a look-up costs less than an insert.
    let known = reply(cookie, address, port);
    if known.is_some_and(|reply| names(reply, asked)) {
        return;
    }
    let wanted = Reply {
        address: asked.address,
        port: u32::from(asked.port),
    };
    let _ = maps::REPLIES.insert(reply_key(cookie, address, port), wanted, 0);
}

/// The address that a reply is reported as coming from.
///
/// `address`, `port`: where it came from, in network byte order.
#[inline(always)]
pub fn reply(cookie: u64, address: Address, port: u16) -> Option<&'static Reply> {
    let reply = maps::REPLIES.get_ptr(reply_key(cookie, address, port))?;
    // SAFETY: the look-up gave a value. Another socket's, should its element be reused meanwhile: a wrong source
    // on one datagram of a socket whose flow was pushed out is what an LRU map costs.
    Some(unsafe { &*reply })
}

/// Words side by side: LLVM 22 cannot lower a comparison of the whole here.
#[inline(always)]
const fn names(reply: &Reply, asked: &FrontendKey) -> bool {
    let differ = (reply.address[0] ^ asked.address[0])
        | (reply.address[1] ^ asked.address[1])
        | (reply.address[2] ^ asked.address[2])
        | (reply.address[3] ^ asked.address[3])
        | (reply.port ^ asked.port as u32);
    differ == 0
}

#[inline(always)]
fn reply_key(cookie: u64, address: Address, port: u16) -> ReplyKey {
    ReplyKey {
        cookie,
        address,
        port: u32::from(port),
        zero: 0,
    }
}
