//! `sendto(2)`, `sendmsg(2)`: a datagram to a frontend goes to the backend of its flow, the socket's datagrams to one
//! frontend.
//!
//! The first frontend that a socket sends to is in ORIGINS, as for a connected socket; `flow` stores further ones. A
//! flow keeps its backend as long as the backend serves, even if the view no longer chooses it: kube-proxy removes
//! conntrack entries by the same rule (pkg/proxy/conntrack/cleanup.go).
//!
//! In shadow mode every datagram passes unchanged, and FLOWS contains all flows, so that each is counted once.

use aya_ebpf::programs::SockAddrContext;
use lb_common::backend::state;
use lb_common::{FrontendKey, Pair, Target, UDP, View};

use crate::backend::BackendLine;
use crate::ctx::{self, Family, Peer};
use crate::identity::Socket as _;
use crate::scope::{self, Destination};
use crate::verdict::{self, PASS, Refusal};
use crate::{affinity, flow, frontend, guard, maps, origin, pick};

/// Number of attempts to pick a backend for a further frontend whose replies no other frontend of the socket expects.
const TRIES: usize = 3;

#[inline(always)]
pub fn sendmsg<F: Family>(ctx: &SockAddrContext) -> i32 {
    if ctx::protocol(ctx) != u32::from(UDP) {
        return PASS;
    }
    let destination = Destination::new::<F>(ctx, UDP, F::source);
    let Some(target) = frontend::find_for(ctx, &destination.lookup) else {
        if let Some(why) = guard::refusal_for(ctx, &destination.lookup) {
            return verdict::refuse(ctx, &destination.lookup, why);
        }
        note_direct(ctx, &destination.requested);
        return PASS;
    };
    if scope::is_confined(F::source(ctx)) {
        return PASS;
    }
    pick::prefetch(target.view);
    let Some(view) = maps::VIEWS.get(target.view) else {
        return PASS;
    };
    let cookie = ctx.cookie();
    let datagram = Datagram {
        ctx,
        cookie,
        pair: origin::recall(cookie).unwrap_or_default(),
        target,
        view,
        destination,
    };
    match datagram.backend() {
        Some(_) if verdict::is_shadow() => PASS,
        Some(backend) => verdict::go_to::<F>(ctx, backend),
        None => {
            let why = Refusal::NoBackend {
                frontend: datagram.target.frontend,
                service_port: datagram.view.service_port,
            };
            verdict::refuse(ctx, &datagram.destination.lookup, why)
        }
    }
}

/// A datagram to a backend's own address. If the socket expects replies from there on behalf of a frontend, they are
/// now reported with the backend's address, until the socket sends to the frontend again.
#[inline(always)]
fn note_direct(ctx: &SockAddrContext, to: &FrontendKey) {
    let Some(cookie) = ctx.existing_cookie() else {
        return;
    };
    let Some(pair) = origin::recall(cookie) else {
        return;
    };
    if pair.frontend == 0 || ctx::is_connected(ctx) {
        return;
    }
    let peer = Peer {
        address: to.address,
        port: to.port,
    };
    let is_first =
        BackendLine::look_up(pair.backend).is_some_and(|backend| backend.peer().is(&peer));
    let is_further = pair.has_flows && flow::is_taken(cookie, peer, to);
    if is_first || is_further {
        flow::expect_reply(cookie, peer, to);
    }
    if is_first && !pair.has_flows {
        origin::mark_flows(cookie);
    }
}

/// A datagram to a frontend.
struct Datagram<'a> {
    ctx: &'a SockAddrContext,
    /// The socket's.
    cookie: u64,
    /// What ORIGINS or SPILL contains for the socket; frontend 0 if nothing.
    pair: Pair,
    /// The frontend.
    target: Target,
    /// The frontend's.
    view: &'a View,
    destination: Destination,
}

impl Datagram<'_> {
    /// The backend that it goes to; none if the frontend has no backend.
    #[inline(always)]
    fn backend(&self) -> Option<BackendLine> {
        let is_first = self.pair.frontend == 0 || self.pair.frontend == self.target.frontend;
        if is_first && !verdict::is_shadow() {
            self.first()
        } else {
            self.further()
        }
    }

    /// The backend of the socket's first frontend, which is in ORIGINS or goes there now.
    ///
    /// This never changes the entry of a connected socket: the entry contains what its `connect` was given, since the
    /// agent ends sockets by it when their backends stop serving. Such a socket receives only from its peer anyway.
    #[inline(always)]
    fn first(&self) -> Option<BackendLine> {
        let (cookie, pair) = (self.cookie, self.pair);
        let (is_alias, requested) = (self.destination.is_alias, &self.destination.requested);
        if pair.frontend != 0
            && let Some(backend) = self.serving(pair.backend)
        {
            let is_new_alias = is_alias && !pair.has_flows && !ctx::is_connected(self.ctx);
            if is_new_alias || pair.has_flows && flow::is_taken(cookie, backend.peer(), requested) {
                flow::expect_reply(cookie, backend.peer(), requested);
            }
            if is_new_alias {
                origin::mark_flows(cookie);
            }
            return Some(backend);
        }
        let backend = self.choose()?;
        if ctx::is_connected(self.ctx) {
            backend.count_connection();
            return Some(backend);
        }
        let pair = Pair {
            frontend: self.target.frontend,
            backend: backend.id,
            has_flows: pair.has_flows || is_alias,
        };
        origin::remember(cookie, pair, backend);
        if pair.has_flows {
            flow::expect_reply(cookie, backend.peer(), requested);
        }
        Some(backend)
    }

    /// The backend of a frontend that is not the socket's first one, or of any in shadow mode.
    #[inline(always)]
    fn further(&self) -> Option<BackendLine> {
        let (cookie, frontend) = (self.cookie, self.target.frontend);
        let stored = flow::find(cookie, frontend).and_then(|id| self.serving(id));
        let backend = match stored {
            Some(backend) => backend,
            None => {
                let backend = self.choose_free()?;
                backend.count_connection();
                flow::remember(cookie, frontend, backend.id);
                backend
            }
        };
        if verdict::is_shadow() {
            return Some(backend);
        }
        flow::expect_reply(cookie, backend.peer(), &self.destination.requested);
        if !self.pair.has_flows {
            origin::mark_flows(cookie);
        }
        Some(backend)
    }

    /// A backend whose replies no other frontend of this socket expects, if a few attempts find one; else any.
    #[inline(always)]
    fn choose_free(&self) -> Option<BackendLine> {
        let first = BackendLine::look_up(self.pair.backend)?;
        let mut last = None;
        for _ in 0..TRIES {
            let backend = self.choose()?;
            let is_first = backend.peer().is(&first.peer());
            let is_free = !is_first
                && !flow::is_taken(self.cookie, backend.peer(), &self.destination.requested);
            last = Some(backend);
            if is_free {
                break;
            }
        }
        last
    }

    #[inline(always)]
    fn choose(&self) -> Option<BackendLine> {
        affinity::choose(self.ctx, self.target.view, self.view)
    }

    /// The backend of a flow, if it still serves.
    #[inline(always)]
    fn serving(&self, id: u32) -> Option<BackendLine> {
        pick::usable(id, self.view, state::SERVING)
    }
}
