//! What a socket says of its peer, and of where a datagram came from: the frontend that it asked for.

use aya_ebpf::programs::SockAddrContext;
use lb_common::Pair;

use crate::ctx::{self, Family};
use crate::identity::{self, Socket as _};
use crate::{flow, maps, origin};

/// `getpeername` and `recvmsg` hooks may only return this.
const DONE: i32 = 1;

#[inline(always)]
pub fn getpeername<F: Family>(ctx: &SockAddrContext) -> i32 {
    if let Some(cookie) = identity::of_peer(ctx) {
        answer::<F>(ctx, cookie);
    }
    DONE
}

#[inline(always)]
pub fn recvmsg<F: Family>(ctx: &SockAddrContext) -> i32 {
    if let Some(cookie) = ctx.known_cookie() {
        answer::<F>(ctx, cookie);
    }
    DONE
}

/// Puts the frontend that the socket asked for into the place of the backend's address.
#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "a port, kept in 32 bits so that the value has no padding"
)]
fn answer<F: Family>(ctx: &SockAddrContext, cookie: u64) {
    let Some(pair) = origin::recall(cookie) else {
        return;
    };
    if pair.has_flows
        && let Some(reply) = flow::reply(cookie, F::address(ctx), ctx::port(ctx))
    {
        F::set_address(ctx, reply.address);
        ctx::set_port(ctx, reply.port as u16);
        return;
    }
    name_frontend::<F>(ctx, pair);
}

/// Only a peer that is the backend given is turned back: the socket may have gone elsewhere since,
/// in ways that no hook sees (`connect` with AF_UNSPEC and again).
#[inline(always)]
fn name_frontend<F: Family>(ctx: &SockAddrContext, pair: Pair) {
    if pair.frontend == 0 {
        return;
    }
    let Some(backend) = maps::BACKENDS.get(pair.backend) else {
        return;
    };
    if ctx::port(ctx) != backend.port || F::address(ctx) != backend.address {
        return;
    }
    let Some(frontend) = maps::FRONTEND_LIST.get(pair.frontend) else {
        return;
    };
    F::set_address(ctx, frontend.address);
    ctx::set_port(ctx, frontend.port);
}
