//! `sendto(2)`, `sendmsg(2)`: each datagram to a frontend goes to the backend that its flow has.
//!
//! The first frontend that a socket sends to is remembered like a connected one; further ones are in `flow`. A flow
//! stays with its backend for as long as that serves, whether the view still chooses it or not: kube-proxy cuts its
//! conntrack entries by the same rule (pkg/proxy/conntrack/cleanup.go).

use aya_ebpf::programs::SockAddrContext;
use lb_common::backend::state;
use lb_common::{Backend, FrontendKey, Pair, Target, UDP, View};

use crate::ctx::{self, Family};
use crate::identity::Socket as _;
use crate::pick::{self, Picked};
use crate::scope::{self, Asked};
use crate::translate::{GO_ON, go_to, refuse, refuse_unknown};
use crate::{affinity, atomic, flow, frontend, maps, origin};

/// How often to pick again for a further frontend when replies from that backend are another's already.
const TRIES: usize = 3;

#[inline(always)]
pub fn sendmsg<F: Family>(ctx: &SockAddrContext) -> i32 {
    if ctx::protocol(ctx) != u32::from(UDP) {
        return GO_ON;
    }
    let asked = Asked::new::<F>(ctx, UDP, F::source);
    let Some(found) = frontend::find(ctx, &asked.lookup) else {
        if let Some(why) = frontend::refusal(&asked.lookup) {
            return refuse_unknown(ctx, &asked.lookup, why);
        }
        note_direct(ctx, &asked.key);
        return GO_ON;
    };
    if scope::is_confined(F::source(ctx)) {
        return GO_ON;
    }
    pick::read_ahead(found.view);
    let Some(view) = maps::VIEWS.get(found.view) else {
        return GO_ON;
    };
    let cookie = ctx.cookie();
    let pair = origin::recall(cookie).unwrap_or_default();
    let backend = if pair.frontend == 0 || pair.frontend == found.frontend {
        first(ctx, cookie, pair, &found, view, &asked)
    } else {
        further(ctx, cookie, pair, &found, view, &asked.key)
    };
    match backend {
        Some(backend) => go_to::<F>(ctx, backend),
        None => refuse(ctx, found.frontend),
    }
}

/// A datagram that goes straight to a backend whose replies are reported as a frontend's: from now on they are reported as
/// they are, until the socket sends to the frontend again.
#[inline(always)]
fn note_direct(ctx: &SockAddrContext, to: &FrontendKey) {
    let Some(cookie) = ctx.known_cookie() else {
        return;
    };
    let Some(pair) = origin::recall(cookie) else {
        return;
    };
    if pair.frontend == 0 || ctx::is_connected(ctx) {
        return;
    }
    let is_first = maps::BACKENDS
        .get(pair.backend)
        .is_some_and(|backend| backend.port == to.port && backend.address == to.address);
    let is_further = pair.has_flows && flow::is_taken_from(cookie, to.address, to.port, to);
    if is_first || is_further {
        flow::expect_reply_from(cookie, to.address, to.port, to);
    }
    if is_first && !pair.has_flows {
        origin::mark_flows(cookie);
    }
}

/// The backend for the frontend that ORIGINS has, or is to have.
///
/// The place of a connected socket only ever says what its `connect` was given, since the agent ends sockets by it when
/// their backends stop serving. Such a socket hears from nobody but its peer anyway.
#[inline(always)]
fn first(
    ctx: &SockAddrContext,
    cookie: u64,
    pair: Pair,
    found: &Target,
    view: &View,
    asked: &Asked,
) -> Option<&'static Backend> {
    if pair.frontend != 0
        && let Some(backend) = serving(pair.backend, view)
    {
        let is_new_alias = asked.is_alias && !pair.has_flows && !ctx::is_connected(ctx);
        if is_new_alias || pair.has_flows && flow::is_taken(cookie, backend, &asked.key) {
            flow::expect_reply(cookie, backend, &asked.key);
        }
        if is_new_alias {
            origin::mark_flows(cookie);
        }
        return Some(backend);
    }
    let picked = affinity::choose(ctx, found.view, view)?;
    if ctx::is_connected(ctx) {
        // SAFETY: `choose` gave a value of BACKENDS.
        unsafe { atomic::add(&raw mut (*picked.backend).connections, 1) };
        // SAFETY: as above.
        return Some(unsafe { &*picked.backend });
    }
    let pair = Pair {
        frontend: found.frontend,
        backend: picked.id,
        has_flows: pair.has_flows || asked.is_alias,
    };
    origin::remember(cookie, pair, picked.backend);
    if pair.has_flows {
        // SAFETY: `choose` gave a value of BACKENDS.
        flow::expect_reply(cookie, unsafe { &*picked.backend }, &asked.key);
    }
    // SAFETY: `choose` gave a value of BACKENDS.
    Some(unsafe { &*picked.backend })
}

/// The backend for a frontend that a socket sends to beside the one in ORIGINS.
#[inline(always)]
fn further(
    ctx: &SockAddrContext,
    cookie: u64,
    pair: Pair,
    found: &Target,
    view: &View,
    key: &FrontendKey,
) -> Option<&'static Backend> {
    let known = flow::find(cookie, found.frontend).and_then(|id| serving(id, view));
    let backend = match known {
        Some(backend) => backend,
        None => {
            let picked = pick_free(ctx, cookie, pair, found.view, view, key)?;
            // SAFETY: `choose` gave a value of BACKENDS.
            unsafe { atomic::add(&raw mut (*picked.backend).connections, 1) };
            flow::remember(cookie, found.frontend, picked.id);
            // SAFETY: as above.
            unsafe { &*picked.backend }
        }
    };
    flow::expect_reply(cookie, backend, key);
    if !pair.has_flows {
        origin::mark_flows(cookie);
    }
    Some(backend)
}

/// A backend whose replies are no other frontend's of this socket, where there is a choice.
#[inline(always)]
fn pick_free(
    ctx: &SockAddrContext,
    cookie: u64,
    pair: Pair,
    index: u32,
    view: &View,
    key: &FrontendKey,
) -> Option<Picked> {
    let first = maps::BACKENDS.get(pair.backend)?;
    let mut last = None;
    for _ in 0..TRIES {
        let picked = affinity::choose(ctx, index, view)?;
        // SAFETY: `choose` gave a value of BACKENDS.
        let backend = unsafe { &*picked.backend };
        let is_first = backend.address == first.address && backend.port == first.port;
        let is_free = !is_first && !flow::is_taken(cookie, backend, key);
        last = Some(picked);
        if is_free {
            break;
        }
    }
    last
}

/// The backend of a flow, if it still serves.
#[inline(always)]
fn serving(id: u32, view: &View) -> Option<&'static Backend> {
    // SAFETY: it gave a value of BACKENDS.
    pick::noted(id, view, state::SERVING).map(|picked| unsafe { &*picked.backend })
}
