//! From a destination to the view that serves it.

use aya_ebpf::programs::SockAddrContext;
use lb_common::config::HOST_NETNS;
use lb_common::{FrontendKey, FrontendValue, Target};

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

/// Whether the client is in the host's network namespace.
#[inline(always)]
fn is_on_host(ctx: &SockAddrContext) -> bool {
    maps::CONFIG
        .get_ptr(HOST_NETNS)
        // SAFETY: the look-up gave a word.
        .is_some_and(|cookie| unsafe { atomic::load(cookie) } == ctx::network_namespace(ctx))
}
