//! The end of a socket: its way is given back.

use aya_ebpf::programs::SockContext;

use crate::{identity, origin};

/// Release hooks may only return this.
const DONE: i32 = 1;

#[inline(always)]
pub fn release(ctx: &SockContext) -> i32 {
    if let Some(cookie) = identity::of_released(ctx) {
        origin::forget(cookie);
        origin::read_ahead(cookie);
    }
    DONE
}
