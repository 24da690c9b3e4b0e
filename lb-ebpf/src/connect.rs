//! `connect(2)`: a connect to a frontend goes to one of its backends. All others pass unchanged.

use aya_ebpf::programs::SockAddrContext;
use aya_log_ebpf::debug;
use lb_common::{Pair, TCP, UDP};

use crate::ctx::{self, Family};
use crate::identity::Socket as _;
use crate::scope::{self, Destination};
use crate::verdict::{self, PASS, Refusal};
use crate::{affinity, flow, frontend, guard, maps, origin, pick};

#[inline(always)]
pub fn connect<F: Family>(ctx: &SockAddrContext) -> i32 {
    #[expect(clippy::cast_possible_truncation, reason = "one of two small numbers")]
    let protocol = match ctx::protocol(ctx) {
        protocol if protocol == u32::from(TCP) || protocol == u32::from(UDP) => protocol as u8,
        _ => return PASS,
    };
    let destination = Destination::new::<F>(ctx, protocol, F::bound);
    let Some(target) = frontend::find_for(ctx, &destination.lookup) else {
        return match guard::refusal_for(ctx, &destination.lookup) {
            Some(why) => verdict::refuse(ctx, &destination.lookup, why),
            None => pass(ctx),
        };
    };
    if scope::is_confined(F::bound(ctx)) {
        return pass(ctx);
    }
    pick::prefetch(target.view);
    let Some(view) = maps::VIEWS.get(target.view) else {
        return PASS;
    };
    let Some(backend) = affinity::choose(ctx, target.view, view) else {
        let why = Refusal::NoBackend {
            frontend: target.frontend,
            service_port: view.service_port,
        };
        return verdict::refuse(ctx, &destination.lookup, why);
    };
    let pair = Pair {
        frontend: target.frontend,
        backend: backend.id,
        has_flows: destination.is_alias,
    };
    let cookie = ctx.cookie();
    origin::remember(cookie, pair, backend);
    if destination.is_alias {
        flow::expect_reply(cookie, backend.peer(), &destination.requested);
    }
    debug!(
        ctx,
        "frontend {} to backend {}", target.frontend, backend.id
    );
    verdict::go_to::<F>(ctx, backend)
}

/// Lets a connect pass unchanged. The socket may have been connected to a frontend before: its entry is then freed.
#[inline(always)]
fn pass(ctx: &SockAddrContext) -> i32 {
    if let Some(cookie) = ctx.existing_cookie() {
        origin::forget(cookie);
    }
    PASS
}
