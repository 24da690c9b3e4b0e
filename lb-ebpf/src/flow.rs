//! An unconnected UDP socket that sends to more than one frontend: FLOWS and REPLIES.
//!
//! A reply shows only its source, so two frontends of one socket had better not share a backend's address. Where
//! they must, the reply names the frontend that was last sent to, as kube-proxy's conntrack would re-port it.

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

/// Whether replies from a backend are another frontend's already.
#[inline(always)]
pub fn is_taken(cookie: u64, backend: &Backend, frontend: &FrontendKey) -> bool {
    reply(cookie, backend.address, backend.port).is_some_and(|reply| !names(reply, frontend))
}

/// From now on replies from this backend are this frontend's.
#[inline(always)]
pub fn expect_reply(cookie: u64, backend: &Backend, frontend: &FrontendKey) {
    // Most often it is there: a look-up costs less than an insert.
    let known = reply(cookie, backend.address, backend.port);
    if known.is_some_and(|reply| names(reply, frontend)) {
        return;
    }
    let wanted = Reply {
        address: frontend.address,
        port: u32::from(frontend.port),
    };
    let key = reply_key(cookie, backend.address, backend.port);
    let _ = maps::REPLIES.insert(key, wanted, 0);
}

/// The frontend that a reply is from.
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
const fn names(reply: &Reply, frontend: &FrontendKey) -> bool {
    let differ = (reply.address[0] ^ frontend.address[0])
        | (reply.address[1] ^ frontend.address[1])
        | (reply.address[2] ^ frontend.address[2])
        | (reply.address[3] ^ frontend.address[3])
        | (reply.port ^ frontend.port as u32);
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
