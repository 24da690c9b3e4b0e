//! From a destination to the view that serves it.

use aya_ebpf::programs::SockAddrContext;
use lb_common::config::{GUARDED_IPV4, GUARDED_IPV6, HOST_NETNS, first_half};
use lb_common::{Address, FrontendKey, FrontendValue, Target, is_mapped};

use crate::{atomic, ctx, maps};

/// Looks a destination up.
///
/// An element may become another key's while it is read; its tags then differ, and the second look-up
/// finds what is true now.
#[inline(always)]
pub fn find(ctx: &SockAddrContext, key: &FrontendKey) -> Option<Target> {
    for _ in 0..2 {
        let value = maps::FRONTENDS.get_ptr(key)?.cast::<u64>();
        // SAFETY: the look-up gave a value of two words.
        let value =
            unsafe { FrontendValue::from_words(atomic::load(value), atomic::load(value.add(1))) };
        if let Some(target) = value.read(key.tag()) {
            return (!target.is_host_only || is_on_host(ctx)).then_some(target);
        }
    }
    None
}

/// Whether a destination that is no frontend has a ClusterIP that we serve: then it has no such port.
///
/// Costs a look-up only inside of the nets that cover those ClusterIPs.
#[inline(always)]
pub fn is_guarded(key: &FrontendKey) -> bool {
    is_covered(key.address)
        && maps::FRONTENDS
            .get_ptr(FrontendKey::new(key.address, 0, 0))
            .is_some()
}

#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "the lower half is what is meant"
)]
fn is_covered(address: Address) -> bool {
    if is_mapped(address) {
        let net = config(GUARDED_IPV4);
        return address[3] & (net >> 32) as u32 == net as u32;
    }
    first_half(address) & config(GUARDED_IPV6) == config(GUARDED_IPV6 + 1)
}

#[inline(always)]
fn config(word: u32) -> u64 {
    match maps::CONFIG.get_ptr(word) {
        // SAFETY: the look-up gave a word.
        Some(word) => unsafe { atomic::load(word) },
        None => 0,
    }
}

/// Whether the client is in the host's network namespace.
#[inline(always)]
fn is_on_host(ctx: &SockAddrContext) -> bool {
    config(HOST_NETNS) == ctx::network_namespace(ctx)
}
