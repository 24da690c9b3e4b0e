//! From a destination to the view that serves it.

use aya_ebpf::helpers::generated::bpf_ktime_get_coarse_ns;
use aya_ebpf::programs::SockAddrContext;
use lb_common::config::{
    FAIL_OPEN_AT, GUARDED_IPV4, GUARDED_IPV6, HOST_NETNS, MOST_SERVICE_CIDRS, SERVICE_CIDRS,
    first_half, last_half, service_cidr,
};
use lb_common::frontend::{filter, guard};
use lb_common::near::{FRONTENDS_PER_LINE, NearFrontend, NearLine};
use lb_common::stats::{REFUSED_UNKNOWN_ADDRESS, REFUSED_UNKNOWN_PORT};
use lb_common::{Address, FrontendKey, FrontendValue, Target, is_mapped};

use crate::{atomic, ctx, maps};

/// Looks a destination up. None also when the programs are to step aside.
#[inline(always)]
pub fn find(ctx: &SockAddrContext, key: &FrontendKey) -> Option<Target> {
    if !may_be_there(key) {
        return None;
    }
    let target = match near(key) {
        Some(target) => target,
        None => far(key)?,
    };
    let is_ours = !target.is_host_only || is_on_host(ctx);
    (is_ours && !is_aside()).then_some(target)
}

/// Whether FILTER lets the key through.
#[inline(always)]
fn may_be_there(key: &FrontendKey) -> bool {
    let (word, bit) = filter::word_and_bit(key.tag());
    maps::FILTER
        .get_ptr(word)
        // SAFETY: the look-up gave a word.
        .is_some_and(|word| unsafe { atomic::load(word) } & bit != 0)
}

/// The key's element of FRONTENDS. From a copy of the key, so that the key itself stays in registers where there is no
/// look-up.
#[inline(always)]
fn look_up(key: &FrontendKey) -> Option<*const FrontendValue> {
    maps::FRONTENDS.get_ptr(*key)
}

/// What FRONTENDS says. The kernel may make an element another key's while it is read; its tags then differ, and the second
/// look-up finds what is true now.
#[inline(always)]
fn far(key: &FrontendKey) -> Option<Target> {
    for _ in 0..2 {
        if let Some(target) = read(look_up(key)?, key) {
            return Some(target);
        }
    }
    None
}

/// What NEAR_FRONTENDS says.
#[inline(always)]
fn near(key: &FrontendKey) -> Option<Target> {
    let word = NearFrontend::key_word(key)?;
    let line = maps::NEAR_FRONTENDS.get_ptr(NearLine::index(key.tag()))?;
    let cells = line.cast::<NearFrontend>();
    for index in 0..FRONTENDS_PER_LINE {
        // SAFETY: `index` is below the number of cells in a line.
        unsafe {
            let cell = cells.add(index);
            if atomic::load(&raw const (*cell).key) == word {
                return NearFrontend::target(atomic::load(&raw const (*cell).value), key.tag());
            }
        }
    }
    None
}

/// The key's element of FRONTENDS, as far as FILTER lets it through.
#[inline(always)]
fn element(key: &FrontendKey) -> Option<*const FrontendValue> {
    if !may_be_there(key) {
        return None;
    }
    look_up(key)
}

/// What an element says, if it still is the key's.
#[inline(always)]
fn read(element: *const FrontendValue, key: &FrontendKey) -> Option<Target> {
    let words = element.cast::<u64>();
    // SAFETY: a look-up gave it, a value of two words.
    let value =
        unsafe { FrontendValue::from_words(atomic::load(words), atomic::load(words.add(1))) };
    value.read(key.tag())
}

/// Why a destination that is no frontend is to be refused, as one of [`lb_common::stats`]: its ClusterIP is one that we
/// serve, or no Service has its address, which is in a Service CIDR.
///
/// Costs a look-up only inside of the nets that cover those.
#[inline(always)]
pub fn refusal(key: &FrontendKey) -> Option<u32> {
    if !is_covered(key.address) || is_aside() {
        return None;
    }
    let key = FrontendKey::new(key.address, 0, 0);
    let Some(element) = element(&key) else {
        return is_in_service_cidr(key.address).then_some(REFUSED_UNKNOWN_ADDRESS);
    };
    let is_guarded = read(element, &key).is_some_and(|target| target.frontend == guard::REFUSE);
    is_guarded.then_some(REFUSED_UNKNOWN_PORT)
}

#[inline(always)]
fn is_in_service_cidr(address: Address) -> bool {
    let (first, last) = (first_half(address), last_half(address));
    let number = config(SERVICE_CIDRS);
    for index in 0..MOST_SERVICE_CIDRS {
        let word = service_cidr(index);
        if u64::from(index) < number
            && first & config(word) == config(word + 2)
            && last & config(word + 1) == config(word + 3)
        {
            return true;
        }
    }
    false
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

/// Whether the agent has been away for as long as `--step-aside-after` says. Only asked of what is to a frontend, and
/// one word when it says nothing.
#[inline(always)]
fn is_aside() -> bool {
    let at = config(FAIL_OPEN_AT);
    // SAFETY: the helper takes nothing.
    at != 0 && at < unsafe { bpf_ktime_get_coarse_ns() }
}

/// Whether the client is in the host's network namespace.
#[inline(always)]
fn is_on_host(ctx: &SockAddrContext) -> bool {
    config(HOST_NETNS) == ctx::network_namespace(ctx)
}
