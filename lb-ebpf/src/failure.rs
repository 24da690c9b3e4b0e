//! The tracepoints that run when something is wrong with a TCP connection: notices failed connects to backends.

use core::ffi::c_void;

use aya_ebpf::Global;
use aya_ebpf::programs::RawTracePointContext;

use crate::backend::BackendLine;
use crate::{identity, origin, outlier};

/// From include/net/tcp_states.h.
const TCP_SYN_SENT: u8 = 2;

/// Called for each TCP segment that is retransmitted, and for each reset that is received.
#[inline(always)]
pub fn notice(ctx: &RawTracePointContext) {
    let socket: *const c_void = ctx.arg(0);
    let socket = socket as u64;
    let (state, cookie) = (STATE_OFFSET.load(), identity::COOKIE_OFFSET.load());
    if state == 0 || cookie == 0 {
        return;
    }
    if identity::read(socket.wrapping_add(u64::from(state))).map(first_byte) != Some(TCP_SYN_SENT) {
        return;
    }
    // A socket without a cookie has no entry.
    let Some(cookie) = identity::read(socket.wrapping_add(u64::from(cookie))) else {
        return;
    };
    if cookie != 0
        && let Some(pair) = origin::recall(cookie)
        && pair.frontend != 0
        && let Some(backend) = BackendLine::look_up(pair.backend)
    {
        outlier::count_failure(backend, cookie);
    }
}

/// The byte at the lowest address of a word that was read from memory.
#[inline(always)]
const fn first_byte(word: u64) -> u8 {
    word.to_ne_bytes()[0]
}

/// Offset of `skc_state` in a socket (include/net/sock.h), in bytes; 0 if unknown.
#[unsafe(no_mangle)]
pub static STATE_OFFSET: Global<u32> = Global::new(0);
