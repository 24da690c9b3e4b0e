//! The program `packet`, at the ingress of the node's devices: chooses a backend for the first packet of a connection that
//! starts at no socket here, and writes the choice into the packet's priority. Rules of netfilter apply it
//! (`kernel/netfilter/` in lb-agent), and the kernel's conntrack keeps it for the connection.
//!
//! The program decides nothing else: other programs and the stack see the packet unchanged.

use aya_ebpf::programs::TcContext;
use lb_common::config::packet_flag::{IPV4_PODS_KNOWN, IPV6_PODS_KNOWN, MASQUERADE_ALL};
use lb_common::config::{CLUSTER_CIDRS, PACKET_FLAGS};
use lb_common::frontend::kind;
use lb_common::source_range::{KEY_BITS, key};
use lb_common::view::flag::ENDPOINTS_ELSEWHERE;
use lb_common::{Address, FrontendEntry, Target, View, affinity, is_mapped, verdict};

use crate::backend::BackendLine;
use crate::ctx::Client;
use crate::header::{self, Header, Link};
use crate::{affinity as session, config, frontend, guard, maps, pick};

/// TC_ACT_UNSPEC, TCX_NEXT: the next program decides.
const NEXT: i32 = -1;

#[inline(always)]
pub fn packet<L: Link>(ctx: &TcContext) -> i32 {
    // A packet may come by twice, for instance on a bridge's port and on the bridge.
    if header::priority(ctx) & verdict::OURS == 0
        && let Some(header) = Header::of_new_flow::<L>(ctx)
        && let Some(verdict) = decide(&header)
    {
        header::set_priority(ctx, verdict);
    }
    NEXT
}

impl Client for Header {
    const IS_NOTICED: bool = false;

    #[inline(always)]
    fn id(&self) -> u64 {
        affinity::address_client(self.source)
    }
}

/// The verdict on a packet; none if it passes unchanged.
#[inline(always)]
fn decide(header: &Header) -> Option<u32> {
    let Some(target) = frontend::find(&header.destination) else {
        return guard::refusal(&header.destination).map(|_| verdict::REJECT);
    };
    if target.is_host_only {
        return None;
    }
    let route = Route::of(header.source, &target)?;
    pick::prefetch(route.view);
    let view = maps::VIEWS.get(route.view)?;
    if target.has_source_ranges && !is_in_source_ranges(view, header.source) {
        return Some(verdict::OUT_OF_RANGE);
    }
    let Some(backend) = session::choose(header, route.view, view) else {
        let is_elsewhere = view.flags & ENDPOINTS_ELSEWHERE != 0;
        return Some(if is_elsewhere {
            verdict::DROP
        } else {
            verdict::REJECT
        });
    };
    let choice = verdict::choice(backend.id);
    Some(
        if route.is_masqueraded || is_itself(backend, header.source) {
            choice | verdict::MASQUERADE
        } else {
            choice
        },
    )
}

/// Which view serves a packet, and whether its connection is masqueraded. The rules are kube-proxy's: the chains of the
/// external and the internal traffic policy in pkg/proxy/nftables/proxier.go and pkg/proxy/iptables/proxier.go.
struct Route {
    /// Index in VIEWS.
    view: u32,
    is_masqueraded: bool,
}

impl Route {
    #[inline(always)]
    fn of(source: Address, target: &Target) -> Option<Self> {
        let entry: &FrontendEntry = maps::FRONTEND_LIST.get(target.frontend)?;
        if entry.kind == kind::CLUSTER_IP {
            let flags = config::word(PACKET_FLAGS);
            let known = if is_mapped(source) {
                IPV4_PODS_KNOWN
            } else {
                IPV6_PODS_KNOWN
            };
            let is_foreign = flags & known != 0 && !is_of_pod(source);
            return Some(Self {
                view: target.view,
                is_masqueraded: flags & MASQUERADE_ALL != 0 || is_foreign,
            });
        }
        // With the policy Local, pods still get all endpoints, and nobody is masqueraded.
        let is_local = entry.outside_view != 0;
        let view = match is_local && !is_of_pod(source) {
            true => entry.outside_view,
            false => target.view,
        };
        Some(Self {
            view,
            is_masqueraded: !is_local,
        })
    }
}

/// Whether the source is a pod's, by `--cluster-cidr`: kube-proxy's detection of local traffic (`DetectLocalByCIDR`).
#[inline(always)]
fn is_of_pod(source: Address) -> bool {
    config::is_in_cidrs(CLUSTER_CIDRS, source)
}

#[inline(always)]
fn is_in_source_ranges(view: &View, source: Address) -> bool {
    let key = maps::SourceKey::new(KEY_BITS, key(view.service_port, source));
    maps::SOURCE_RANGES.get(&key).is_some()
}

/// Hairpin: the answer of a pod that reaches itself must come back through the node.
#[inline(always)]
fn is_itself(backend: BackendLine, source: Address) -> bool {
    backend.peer().address == source
}
