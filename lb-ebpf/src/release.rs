//! The end of a socket: its entry is freed.

use aya_ebpf::programs::SockContext;

use crate::{identity, origin};

/// The only value that release hooks may return.
const DONE: i32 = 1;

#[inline(always)]
pub fn release(ctx: &SockContext) -> i32 {
    if let Some(cookie) = identity::of_released(ctx) {
        origin::forget(cookie);
        origin::prefetch_after(cookie);
    }
    DONE
}
