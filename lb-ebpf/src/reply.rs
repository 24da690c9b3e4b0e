//! `getpeername(2)`, `recvmsg(2)`: a peer that is a backend is reported as the frontend that the socket asked for.

use aya_ebpf::programs::SockAddrContext;
use lb_common::Pair;

use crate::backend::BackendLine;
use crate::ctx::{self, Family, Peer};
use crate::identity::{self, Socket as _};
use crate::{flow, maps, origin};

/// The only value that `getpeername` and `recvmsg` hooks may return.
const DONE: i32 = 1;

#[inline(always)]
pub fn getpeername<F: Family>(ctx: &SockAddrContext) -> i32 {
    if let Some(cookie) = identity::of_peer(ctx) {
        report::<F>(ctx, cookie);
    }
    DONE
}

#[inline(always)]
pub fn recvmsg<F: Family>(ctx: &SockAddrContext) -> i32 {
    if let Some(cookie) = ctx.existing_cookie() {
        report::<F>(ctx, cookie);
    }
    DONE
}

/// Replaces the backend's address in the context by the address that the socket asked for.
#[inline(always)]
fn report<F: Family>(ctx: &SockAddrContext, cookie: u64) {
    let Some(pair) = origin::recall(cookie) else {
        return;
    };
    if pair.has_flows
        && let Some(reply) = flow::reply(cookie, ctx::peer::<F>(ctx))
    {
        ctx::set_peer::<F>(ctx, reply);
        return;
    }
    report_first::<F>(ctx, pair);
}

/// The same by the socket's pair. The peer must be the pair's backend: the socket may have another peer by now without
/// a hook having run (`connect` with AF_UNSPEC and again).
#[inline(always)]
fn report_first<F: Family>(ctx: &SockAddrContext, pair: Pair) {
    if pair.frontend == 0 {
        return;
    }
    let Some(backend) = BackendLine::look_up(pair.backend) else {
        return;
    };
    if !backend.peer().is(&ctx::peer::<F>(ctx)) {
        return;
    }
    let Some(frontend) = maps::FRONTEND_LIST.get(pair.frontend) else {
        return;
    };
    let requested = Peer {
        address: frontend.address,
        port: frontend.port,
    };
    ctx::set_peer::<F>(ctx, requested);
}
