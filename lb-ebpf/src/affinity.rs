//! `sessionAffinity: ClientIP`: a client's new connections go where its last one went.
//!
//! Each new connection renews it, as the `recent` match of kube-proxy's iptables mode does
//! (pkg/proxy/iptables/proxier.go). It never overrides the view: a backend that is none of its choices any more is
//! picked anew.

use aya_ebpf::bindings::{BPF_ANY, BPF_NOEXIST};
use aya_ebpf::helpers::generated::bpf_ktime_get_coarse_ns;
use aya_ebpf::programs::SockAddrContext;
use lb_common::View;
use lb_common::affinity::{Affinity, AffinityKey, ticks};

use crate::pick::{self, Picked};
use crate::{atomic, ctx, maps};

/// The backend for a new connection; none when the view has none.
///
/// `index`: the view's in VIEWS.
#[inline(always)]
pub fn choose(ctx: &SockAddrContext, index: u32, view: &View) -> Option<Picked> {
    if view.affinity_seconds == 0 {
        return pick::pick(ctx, index, view);
    }
    let key = AffinityKey {
        client: ctx::network_namespace(ctx),
        service_port: view.service_port,
        zero: 0,
    };
    // SAFETY: the helper takes nothing.
    let now = ticks(unsafe { bpf_ktime_get_coarse_ns() });
    let known = maps::AFFINITY.get_ptr_mut(key);
    if let Some(known) = known
        && let Some(picked) = renew(known, now, view)
    {
        return Some(picked);
    }
    let picked = pick::pick(ctx, index, view)?;
    let word = Affinity {
        backend: picked.id,
        last_use: now,
    };
    let flags = if known.is_some() {
        BPF_ANY
    } else {
        BPF_NOEXIST
    };
    if maps::AFFINITY
        .insert(key, word.to_word(), u64::from(flags))
        .is_err()
        && let Some(known) = maps::AFFINITY.get_ptr_mut(key)
        && let Some(first) = renew(known, now, view)
    {
        // Another connection of this client was quicker.
        return Some(first);
    }
    Some(picked)
}

/// The backend that a client has, if it may keep it.
#[inline(always)]
fn renew(known: *mut u64, now: u32, view: &View) -> Option<Picked> {
    // SAFETY: a look-up gave a word.
    let word = unsafe { atomic::load(known) };
    let affinity = Affinity::from_word(word);
    if !affinity.holds(now, view.affinity_seconds) {
        return None;
    }
    let picked = pick::noted(affinity.backend, view, u64::from(view.member))?;
    if affinity.last_use != now {
        let renewed = Affinity {
            last_use: now,
            ..affinity
        };
        // SAFETY: as above. An element that has become another client's meanwhile holds another word.
        unsafe { atomic::replace(known, word, renewed.to_word()) };
    }
    Some(picked)
}
