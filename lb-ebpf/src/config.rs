//! What the agent tells all programs, in CONFIG.

use aya_ebpf::helpers::generated::bpf_ktime_get_coarse_ns;
use aya_ebpf::programs::SockAddrContext;
use lb_common::Address;
use lb_common::config::{FAIL_OPEN_AT, HOST_NETNS, MOST_CIDRS, cidr, first_half, last_half};

use crate::ctx::Client as _;
use crate::maps;

/// A word of CONFIG.
///
/// `index`: one of [`lb_common::config`].
#[inline(always)]
pub fn word(index: u32) -> u64 {
    match maps::word(&maps::CONFIG, index) {
        Some(word) => word.load(),
        None => 0,
    }
}

/// Whether no agent has run for longer than `--step-aside-after`, so that all calls pass unchanged. Reads the clock
/// only if that flag is set.
#[inline(always)]
pub fn fails_open() -> bool {
    let deadline = word(FAIL_OPEN_AT);
    // SAFETY: the helper has no arguments.
    deadline != 0 && deadline < unsafe { bpf_ktime_get_coarse_ns() }
}

/// Whether the address is in one of a list's CIDRs.
///
/// `list`: one of [`lb_common::config`].
#[inline(always)]
pub fn is_in_cidrs(list: u32, address: Address) -> bool {
    let (first, last) = (first_half(address), last_half(address));
    let number = word(list);
    for index in 0..MOST_CIDRS {
        let at = cidr(list, index);
        if u64::from(index) < number
            && first & word(at) == word(at + 2)
            && last & word(at + 1) == word(at + 3)
        {
            return true;
        }
    }
    false
}

/// Whether the client is in the host's network namespace.
#[inline(always)]
pub fn is_host(ctx: &SockAddrContext) -> bool {
    word(HOST_NETNS) == ctx.id()
}
