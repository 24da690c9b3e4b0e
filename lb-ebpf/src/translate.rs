//! `connect(2)`: a frontend becomes one of its backends; anything else is left as it is.
//!
//! `send` does the same for datagrams, with the helpers here.

use aya_ebpf::helpers::generated::bpf_set_retval;
use aya_ebpf::programs::SockAddrContext;
use aya_log_ebpf::{debug, info};
use lb_common::stats::REFUSED_NO_BACKEND;
use lb_common::{Backend, FrontendKey, Pair, TCP, UDP};

use crate::ctx::{self, Family};
use crate::identity::Socket as _;
use crate::scope::{self, Asked};
use crate::{affinity, flow, frontend, maps, origin, pick};

/// What a hook returns to let the call go on.
pub const GO_ON: i32 = 1;

/// What a hook returns to end the call.
const END: i32 = 0;

const ECONNREFUSED: i32 = 111;

#[inline(always)]
pub fn connect<F: Family>(ctx: &SockAddrContext) -> i32 {
    #[expect(clippy::cast_possible_truncation, reason = "one of two small numbers")]
    let protocol = match ctx::protocol(ctx) {
        protocol if protocol == u32::from(TCP) || protocol == u32::from(UDP) => protocol as u8,
        _ => return GO_ON,
    };
    let asked = Asked::new::<F>(ctx, protocol, F::bound);
    let Some(found) = frontend::find(ctx, &asked.lookup) else {
        if let Some(why) = frontend::refusal(&asked.lookup) {
            return refuse_unknown(ctx, &asked.lookup, why);
        }
        return leave(ctx);
    };
    if scope::is_confined(F::bound(ctx)) {
        return leave(ctx);
    }
    pick::read_ahead(found.view);
    let Some(view) = maps::VIEWS.get(found.view) else {
        return GO_ON;
    };
    let Some(picked) = affinity::choose(ctx, found.view, view) else {
        return refuse(ctx, found.frontend);
    };
    let pair = Pair {
        frontend: found.frontend,
        backend: picked.id,
        has_flows: asked.is_alias,
    };
    let cookie = ctx.cookie();
    origin::remember(cookie, pair, picked.backend);
    if asked.is_alias {
        // SAFETY: `choose` gave a value of BACKENDS.
        flow::expect_reply(cookie, unsafe { &*picked.backend }, &asked.key);
    }
    debug!(ctx, "frontend {} to backend {}", found.frontend, picked.id);
    go_to::<F>(ctx, picked.backend)
}

/// Lets a connect go where it asks to. The socket may have been connected to a frontend before.
#[inline(always)]
fn leave(ctx: &SockAddrContext) -> i32 {
    if let Some(cookie) = ctx.known_cookie() {
        origin::forget(cookie);
    }
    GO_ON
}

/// Puts a backend in the place of the frontend.
#[inline(always)]
pub fn go_to<F: Family>(ctx: &SockAddrContext, backend: *const Backend) -> i32 {
    // SAFETY: `backend` is a value of BACKENDS.
    let (address, port) = unsafe { ((*backend).address, (*backend).port) };
    F::set_address(ctx, address);
    ctx::set_port(ctx, port);
    GO_ON
}

/// Ends the call at once with ECONNREFUSED, as kube-proxy's REJECT does to a client on the node.
#[inline(always)]
pub fn refuse(ctx: &SockAddrContext, frontend: u32) -> i32 {
    info!(ctx, "refused: no backend for frontend {}", frontend);
    maps::count(REFUSED_NO_BACKEND);
    end()
}

/// As [`refuse`], for what is no frontend and nobody else's either, as kube-proxy's nftables mode rejects it.
///
/// `why`: one of [`lb_common::stats`].
#[inline(always)]
pub fn refuse_unknown(ctx: &SockAddrContext, key: &FrontendKey, why: u32) -> i32 {
    info!(
        ctx,
        "refused: no Service has this address with port {}",
        u16::from_be(key.port)
    );
    maps::count(why);
    end()
}

#[inline(always)]
fn end() -> i32 {
    // SAFETY: the helper only notes the number.
    unsafe { bpf_set_retval(-ECONNREFUSED) };
    END
}
