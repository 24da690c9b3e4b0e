//! `connect(2)`: a frontend becomes one of its backends; anything else is left as it is.

use aya_ebpf::helpers::generated::bpf_set_retval;
use aya_ebpf::programs::SockAddrContext;
use aya_log_ebpf::{debug, info};
use lb_common::{FrontendKey, Pair, TCP, UDP};

use crate::ctx::{self, Family, Socket as _};
use crate::{frontend, maps, origin, pick};

/// What a hook returns to let the call go on.
const GO_ON: i32 = 1;

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
    let key = FrontendKey::new(F::address(ctx), ctx::port(ctx), protocol);
    let Some(found) = frontend::find(&key) else {
        // The socket may have been connected to a frontend before.
        origin::forget(ctx.cookie());
        return GO_ON;
    };
    let Some(view) = maps::VIEWS.get(found.view) else {
        return GO_ON;
    };
    let Some(picked) = pick::pick(view) else {
        info!(
            ctx,
            "refused: no backend for frontend {}, port {}",
            found.frontend,
            u16::from_be(key.port)
        );
        return refuse();
    };
    // SAFETY: `pick` gave a value of BACKENDS.
    let (address, port) = unsafe { ((*picked.backend).address, (*picked.backend).port) };
    F::set_address(ctx, address);
    ctx::set_port(ctx, port);
    let pair = Pair {
        frontend: found.frontend,
        backend: picked.id,
    };
    origin::remember(ctx.cookie(), pair, picked.backend);
    debug!(ctx, "frontend {} to backend {}", found.frontend, picked.id);
    GO_ON
}

/// Ends the call at once with ECONNREFUSED, as kube-proxy's REJECT does to a client on the node.
#[inline(always)]
fn refuse() -> i32 {
    // SAFETY: the helper only notes the number.
    unsafe { bpf_set_retval(-ECONNREFUSED) };
    END
}
