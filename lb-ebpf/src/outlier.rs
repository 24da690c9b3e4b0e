//! Outlier detection: counts the connects to a backend that fail in a row, and passes an ejected backend over. See
//! [`lb_common::outlier`].
//!
//! Failures are noticed where the kernel comes by only when something is wrong: the tracepoints `tcp_retransmit_skb` and
//! `tcp_receive_reset` (include/trace/events/tcp.h), and the release of a socket that was never established. Plain loads and
//! compare-and-exchange: of two failures at once one may not be counted.

use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use lb_common::backend::state;
use lb_common::outlier::{Failures, RETRY_NS, TRIAL, TRIAL_NS};

use crate::backend::BackendLine;
use crate::event;

/// Counts a socket's failed connect, once.
#[inline(always)]
pub fn count_failure(backend: BackendLine, cookie: u64) {
    if !backend.has_state(state::WATCHED) {
        return;
    }
    let socket = Failures::of_cookie(cookie);
    let word = backend.failures().load();
    let failures = Failures::from_word(word);
    let until = backend.ejected_until().load();
    if until == 0 {
        if failures.socket == socket {
            return;
        }
    } else {
        // Of an ejected backend only the trial counts. Others began before.
        if until & TRIAL == 0 || failures.socket != socket {
            return;
        }
        let next = (now() + RETRY_NS) & !TRIAL;
        if !backend.ejected_until().compare_exchange(until, next) {
            return;
        }
    }
    let failures = Failures {
        count: failures.count.saturating_add(1),
        socket,
    };
    backend
        .failures()
        .compare_exchange(word, failures.to_word());
    event::suspect(backend);
}

/// An established connection of this socket is over.
#[inline(always)]
pub fn clear_failures(backend: BackendLine, cookie: u64) {
    let word = backend.failures().load();
    if word == 0 {
        return;
    }
    let until = backend.ejected_until().load();
    if until == 0 {
        backend.failures().compare_exchange(word, 0);
    } else if until & TRIAL != 0 && Failures::from_word(word).socket == Failures::of_cookie(cookie)
    {
        readmit(backend, until);
    }
}

/// Whether a new connection may go to this backend.
///
/// `may_try`: the connection may be the trial.
#[inline(always)]
pub fn admits(backend: BackendLine, may_try: bool) -> bool {
    let until = backend.ejected_until().load();
    until == 0 || may_try && admits_trial(backend, until)
}

/// Whether the backend is not ejected, and so keeps its clients.
#[inline(always)]
pub fn is_in(backend: BackendLine) -> bool {
    backend.ejected_until().load() == 0
}

#[inline(always)]
fn admits_trial(backend: BackendLine, until: u64) -> bool {
    let now = now();
    if now < until {
        return false;
    }
    if until & TRIAL != 0 {
        readmit(backend, until);
        return true;
    }
    let is_trial = backend
        .ejected_until()
        .compare_exchange(until, (now + TRIAL_NS) | TRIAL);
    if is_trial {
        // Until the trial's socket is known.
        let count = Failures::from_word(backend.failures().load()).count;
        let none = Failures { count, socket: 0 };
        backend.failures().store(none.to_word());
    }
    is_trial
}

/// A socket now connects to this backend. If it is the trial, it is noted.
#[inline(always)]
pub fn note_trial(backend: BackendLine, cookie: u64) {
    if backend.ejected_until().load() & TRIAL == 0 {
        return;
    }
    let word = backend.failures().load();
    let failures = Failures::from_word(word);
    if failures.socket == 0 {
        let of = Failures {
            socket: Failures::of_cookie(cookie),
            ..failures
        };
        backend.failures().compare_exchange(word, of.to_word());
    }
}

/// A connection that was to go to this backend goes to another one. If it was the trial, the next connect is one.
#[inline(always)]
pub fn return_trial(backend: BackendLine) {
    end_trial_of(backend, 0);
}

/// The owner of this socket has given its connect up. If it was the trial, the next connect is one.
#[inline(always)]
pub fn end_trial(backend: BackendLine, cookie: u64) {
    end_trial_of(backend, Failures::of_cookie(cookie));
}

/// `socket`: 0 until the trial's socket is known.
#[inline(always)]
fn end_trial_of(backend: BackendLine, socket: u32) {
    let until = backend.ejected_until().load();
    let failures = Failures::from_word(backend.failures().load());
    if until & TRIAL != 0 && failures.socket == socket {
        backend
            .ejected_until()
            .compare_exchange(until, now() & !TRIAL);
    }
}

#[inline(always)]
fn readmit(backend: BackendLine, until: u64) {
    backend.failures().store(0);
    backend.ejected_until().compare_exchange(until, 0);
}

#[inline(always)]
fn now() -> u64 {
    // SAFETY: the helper has no arguments.
    unsafe { bpf_ktime_get_ns() }
}
