//! `sessionAffinity: ClientIP`: a client's new connections go to the backend of its last one.
//!
//! Each new connection renews the affinity, as the `recent` match of kube-proxy's iptables mode does
//! (pkg/proxy/iptables/proxier.go). Affinity never overrides the view: if the view no longer chooses the backend, the
//! client gets a new one.

use aya_ebpf::bindings::{BPF_ANY, BPF_NOEXIST};
use aya_ebpf::helpers::generated::bpf_ktime_get_coarse_ns;
use lb_common::View;
use lb_common::affinity::{Affinity, AffinityKey, ticks};

use crate::atomic::Word;
use crate::backend::BackendLine;
use crate::ctx::Client;
use crate::{maps, outlier, pick};

/// The backend for a new connection; none if the view has no backend.
///
/// `index`: the view's in VIEWS.
#[inline(always)]
pub fn choose(client: &impl Client, index: u32, view: &View) -> Option<BackendLine> {
    if view.affinity_seconds == 0 {
        return pick::pick(client, index, view);
    }
    let key = AffinityKey {
        client: client.id(),
        service_port: view.service_port,
        zero: 0,
    };
    // SAFETY: the helper has no arguments.
    let now = ticks(unsafe { bpf_ktime_get_coarse_ns() });
    let stored = maps::affinity(key);
    if let Some(stored) = stored
        && let Some(backend) = renew(stored, now, view)
    {
        return Some(backend);
    }
    let backend = pick::pick(client, index, view)?;
    let affinity = Affinity {
        backend: backend.id,
        last_use: now,
    };
    let flags = if stored.is_some() {
        BPF_ANY
    } else {
        BPF_NOEXIST
    };
    if maps::AFFINITY
        .insert(key, affinity.to_word(), u64::from(flags))
        .is_err()
        && let Some(stored) = maps::affinity(key)
        && let Some(first) = renew(stored, now, view)
    {
        // Another connection of this client was faster.
        outlier::return_trial(backend);
        return Some(first);
    }
    Some(backend)
}

/// The backend that a client has, if the client may keep it.
///
/// `now`: in ticks.
#[inline(always)]
fn renew(stored: Word, now: u32, view: &View) -> Option<BackendLine> {
    let word = stored.load();
    let affinity = Affinity::from_word(word);
    if !affinity.holds(now, view.affinity_seconds) {
        return None;
    }
    let backend = pick::usable(affinity.backend, view, u64::from(view.member))?;
    if !outlier::is_in(backend) {
        return None;
    }
    if affinity.last_use != now {
        let renewed = Affinity {
            last_use: now,
            ..affinity
        };
        // Fails if the element has become another client's meanwhile, since that one contains another word.
        stored.compare_exchange(word, renewed.to_word());
    }
    Some(backend)
}
