//! What became of a TCP connection through a frontend, read from its socket when the socket is closed.

use aya_ebpf::Global;
use aya_ebpf::programs::SockContext;
use lb_common::event::kind;
use lb_common::{FrontendKey, Pair, TCP};

use crate::backend::BackendLine;
use crate::event::{self, Happening};
use crate::service::Counters;
use crate::{identity, maps, outlier};

/// From include/net/tcp_states.h.
const TCP_SYN_SENT: u32 = 2;
const TCP_CLOSE: u32 = 7;

/// Counts the connection of a socket that had this pair.
///
/// `backend`: the pair's.
#[inline(always)]
pub fn note(ctx: &SockContext, cookie: u64, pair: Pair, backend: BackendLine) {
    // SAFETY: the kernel's context is valid for the whole run.
    let (protocol, state) = unsafe { ((*ctx.sock).protocol, (*ctx.sock).state) };
    if protocol != u32::from(TCP) {
        return;
    }
    if state == TCP_SYN_SENT {
        // Its owner has given it up, which says nothing about the backend.
        note_failed(ctx, pair, backend);
        outlier::end_trial(backend, cookie);
    } else if state == TCP_CLOSE && was_established(ctx) == Some(false) {
        note_failed(ctx, pair, backend);
        outlier::count_failure(backend, cookie);
    } else {
        // A socket in any other state has been established.
        outlier::clear_failures(backend, cookie);
        if HAS_LATENCY.load() != 0 {
            note_times(ctx, backend);
        }
    }
}

#[inline(always)]
fn note_failed(ctx: &SockContext, pair: Pair, backend: BackendLine) {
    let service_port = backend.service_port();
    if let Some(counters) = Counters::of(service_port) {
        counters.count_failed();
    }
    let Some(frontend) = maps::FRONTEND_LIST.get(pair.frontend) else {
        return;
    };
    let asked = FrontendKey::new(frontend.address, frontend.port, frontend.protocol);
    let what = Happening {
        kind: kind::FAILED,
        frontend: pair.frontend,
        backend: pair.backend,
        service_port,
    };
    event::report(ctx, &asked, what);
}

#[inline(always)]
fn note_times(ctx: &SockContext, backend: BackendLine) {
    let (Some(smoothed), Some(smallest)) =
        (word(ctx, &SRTT_OFFSET), word(ctx, &SMALLEST_RTT_OFFSET))
    else {
        return;
    };
    // `tcp_rtt_estimator` keeps eight times the value. 0: no answer has been measured.
    if smoothed >> 3 == 0 {
        return;
    }
    if let Some(counters) = Counters::of(backend.service_port()) {
        counters.count_times(smoothed >> 3, smallest);
    }
}

/// Whether the peer has acknowledged the SYN: `tcp_ack` counts it in `bytes_acked`. None if this kernel has no way to read
/// it.
#[inline(always)]
fn was_established(ctx: &SockContext) -> Option<bool> {
    Some(identity::socket_word(ctx, BYTES_ACKED_OFFSET.load())? != 0)
}

/// A 32-bit field of the TCP socket.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "takes the lower half")]
fn word(ctx: &SockContext, offset: &Global<u32>) -> Option<u32> {
    identity::socket_word(ctx, offset.load()).map(|word| u64::from_le(word) as u32)
}

/// 1 if round-trip times are counted (`--latency`), else 0.
#[unsafe(no_mangle)]
pub static HAS_LATENCY: Global<u32> = Global::new(0);

/// Offset of `bytes_acked` in `struct tcp_sock` (include/linux/tcp.h), in bytes; 0 if unknown.
#[unsafe(no_mangle)]
pub static BYTES_ACKED_OFFSET: Global<u32> = Global::new(0);

/// Offset of `srtt_us` in `struct tcp_sock`, in bytes; 0 if unknown.
#[unsafe(no_mangle)]
pub static SRTT_OFFSET: Global<u32> = Global::new(0);

/// Offset of the value of the smallest sample of `rtt_min` in `struct tcp_sock`, in bytes; 0 if unknown.
#[unsafe(no_mangle)]
pub static SMALLEST_RTT_OFFSET: Global<u32> = Global::new(0);
