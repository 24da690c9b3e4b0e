//! The end of a socket: its entry is freed, and what became of its connection is counted.

use aya_ebpf::programs::SockContext;

use crate::{identity, origin, outcome};

/// The only value that release hooks may return.
const DONE: i32 = 1;

#[inline(always)]
pub fn release(ctx: &SockContext) -> i32 {
    if let Some(cookie) = identity::of_released(ctx) {
        let pair = origin::forget(cookie);
        origin::prefetch_after(cookie);
        outcome::note(ctx, pair);
    }
    DONE
}
