//! The end of a socket: its entry is freed, and what became of its connection is counted.

use aya_ebpf::programs::SockContext;

use crate::{identity, origin, outcome};

/// The only value that release hooks may return.
const DONE: i32 = 1;

#[inline(always)]
pub fn release(ctx: &SockContext) -> i32 {
    if let Some(cookie) = identity::of_released(ctx) {
        let had = origin::forget(cookie);
        origin::prefetch_after(cookie);
        if let Some(backend) = had.backend {
            outcome::note(ctx, cookie, had.pair, backend);
        }
    }
    DONE
}
