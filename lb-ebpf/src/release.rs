//! The end of a socket: its way is given back.

use aya_ebpf::programs::SockContext;

use crate::ctx::Socket as _;
use crate::origin;

/// Release hooks may only return this.
const DONE: i32 = 1;

#[inline(always)]
pub fn release(ctx: &SockContext) -> i32 {
    if let Some(cookie) = ctx.known_cookie() {
        origin::forget(cookie);
        origin::read_ahead(cookie);
    }
    DONE
}
