//! `--syn-timeout`: when the kernel retransmits the SYN of a connection to a backend.

use aya_ebpf::Global;
use aya_ebpf::bindings::BPF_SOCK_OPS_TIMEOUT_INIT;
use aya_ebpf::programs::SockOpsContext;

use crate::identity::Socket as _;
use crate::origin;

/// The only value that such a program may return.
const DONE: u32 = 1;

/// Answers `tcp_timeout_init` (include/net/tcp.h), which `tcp_connect_init` calls.
#[inline(always)]
pub fn answer(ctx: &SockOpsContext) -> u32 {
    if ctx.op() != BPF_SOCK_OPS_TIMEOUT_INIT {
        return DONE;
    }
    if let Some(cookie) = ctx.existing_cookie()
        && let Some(pair) = origin::recall(cookie)
        && pair.frontend != 0
    {
        // Otherwise the kernel takes its own time-out.
        ctx.set_reply(SYN_TIMEOUT.load());
    }
    DONE
}

/// In jiffies.
#[unsafe(no_mangle)]
pub static SYN_TIMEOUT: Global<u32> = Global::new(0);
