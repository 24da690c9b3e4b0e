//! `connect(2)`: a connect to a frontend goes to one of its backends. All others pass unchanged.
//!
//! In shadow mode these pass unchanged too: a backend is chosen and counted, and the socket gets no entry.

use aya_ebpf::programs::SockAddrContext;
use aya_log_ebpf::debug;
use lb_common::{Pair, TCP, UDP};

use crate::ctx::{self, Family};
use crate::identity::Socket as _;
use crate::scope::{self, Destination};
use crate::verdict::{self, PASS, Refusal};
use crate::{affinity, flow, frontend, guard, maps, origin, outlier, pick};

#[inline(always)]
pub fn connect<F: Family>(ctx: &SockAddrContext) -> i32 {
    if let Some(verdict) = verdict::<F>(ctx) {
        return verdict;
    }
    // The socket may have been connected to a frontend before: its entry is then freed.
    if let Some(cookie) = ctx.existing_cookie() {
        origin::forget(cookie);
    }
    PASS
}

/// The end of a call; none if it passes unchanged, and the socket has no entry from then on.
#[inline(always)]
fn verdict<F: Family>(ctx: &SockAddrContext) -> Option<i32> {
    #[expect(clippy::cast_possible_truncation, reason = "one of two small numbers")]
    let protocol = match ctx::protocol(ctx) {
        protocol if protocol == u32::from(TCP) || protocol == u32::from(UDP) => protocol as u8,
        _ => return Some(PASS),
    };
    let destination = Destination::new::<F>(ctx, protocol, F::bound);
    let Some(target) = frontend::find_for(ctx, &destination.lookup) else {
        let why = guard::refusal_for(ctx, &destination.lookup)?;
        return refuse(ctx, &destination, why);
    };
    if scope::is_confined(F::bound(ctx)) {
        return None;
    }
    pick::prefetch(target.view);
    let Some(view) = maps::VIEWS.get(target.view) else {
        return Some(PASS);
    };
    let Some(backend) = affinity::choose(ctx, target.view, view) else {
        let why = Refusal::NoBackend {
            frontend: target.frontend,
            service_port: view.service_port,
        };
        return refuse(ctx, &destination, why);
    };
    if verdict::is_shadow() {
        backend.count_connection();
        outlier::return_trial(backend);
        return None;
    }
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
    Some(verdict::go_to::<F>(ctx, backend))
}

/// In shadow mode it is only counted.
#[inline(always)]
fn refuse(ctx: &SockAddrContext, destination: &Destination, why: Refusal) -> Option<i32> {
    let verdict = verdict::refuse(ctx, &destination.lookup, why);
    (!verdict::is_shadow()).then_some(verdict)
}
