//! What a socket asked for: its entry in ORIGINS, or its element in SPILL.
//!
//! `active` of a backend is the number of entries and elements that name it, so every change of either is
//! made here, and always in pairs. The pair is exchanged, not stored: the kernel runs the connect hook of
//! a UDP socket without the socket's lock (`inet_dgram_connect`), so two threads may be here at once.

use aya_ebpf::bindings::BPF_NOEXIST;
use lb_common::origin::{ENTRIES_PER_SET, Entry, HAS_FLOWS, set_of};
use lb_common::{Backend, Pair};

use crate::{atomic, maps};

/// Remembers a socket's pair in place of the one it had, and counts it at its backend.
///
/// A socket that finds neither entry nor element loses its `getpeername` answer and its place in `active`.
#[inline(always)]
pub fn remember(cookie: u64, pair: Pair, backend: *mut Backend) {
    // SAFETY: `backend` is a value of BACKENDS.
    unsafe { atomic::add(&raw mut (*backend).connections, 1) };
    if let Some(entry) = entry_of(cookie).or_else(|| claim(cookie)) {
        // SAFETY: `entry` is one of ORIGINS.
        let old = unsafe { atomic::exchange(&raw mut (*entry).pair, pair.to_word()) };
        count(backend);
        uncount(Pair::from_word(old));
        if spilled() {
            forget_spilled(cookie);
        }
        return;
    }
    forget_spilled(cookie);
    // Should another thread have put this socket's pair there meanwhile, that one counts.
    if maps::SPILL
        .insert(cookie, pair.to_word(), u64::from(BPF_NOEXIST))
        .is_ok()
    {
        count(backend);
        add_spilled(1);
    }
}

/// Notes that a socket has further frontends.
#[inline(always)]
pub fn mark_flows(cookie: u64) {
    if let Some(entry) = entry_of(cookie) {
        // SAFETY: `entry` is one of ORIGINS. An OR, so that a pair that another thread has just exchanged stays.
        unsafe { atomic::or(&raw mut (*entry).pair, HAS_FLOWS) };
    } else if let Some(element) = maps::SPILL.get_ptr_mut(cookie) {
        // SAFETY: the look-up gave a word.
        unsafe { atomic::or(element, HAS_FLOWS) };
    }
}

/// Gives back all that a socket holds.
#[inline(always)]
pub fn forget(cookie: u64) {
    if let Some(set) = set(cookie) {
        for index in 0..ENTRIES_PER_SET {
            // SAFETY: `index` is below the number of entries in a set.
            let entry = unsafe { set.add(index) };
            // SAFETY: `entry` is one of ORIGINS.
            unsafe {
                if atomic::load(&raw const (*entry).cookie) == cookie {
                    let old = atomic::exchange(&raw mut (*entry).pair, 0);
                    (&raw mut (*entry).cookie).write_volatile(0);
                    uncount(Pair::from_word(old));
                }
            }
        }
    }
    if spilled() {
        forget_spilled(cookie);
    }
}

/// What a socket asked for and was given.
#[inline(always)]
pub fn recall(cookie: u64) -> Option<Pair> {
    if let Some(entry) = entry_of(cookie) {
        // SAFETY: `entry` is one of ORIGINS.
        return Some(Pair::from_word(unsafe {
            atomic::load(&raw const (*entry).pair)
        }));
    }
    if !spilled() {
        return None;
    }
    let element = maps::SPILL.get_ptr(cookie)?;
    // SAFETY: the look-up gave a word.
    Some(Pair::from_word(unsafe { atomic::load(element) }))
}

/// Reads the line that the sockets after this one will have, so that it is near when they connect: cookies come in
/// sequence on each CPU. Nothing waits for it.
#[inline(always)]
pub fn read_ahead(cookie: u64) {
    if let Some(entry) = set(cookie.wrapping_add(ENTRIES_PER_SET as u64)) {
        // SAFETY: `entry` is one of ORIGINS.
        unsafe { atomic::load(&raw const (*entry).cookie) };
    }
}

#[inline(always)]
fn set(cookie: u64) -> Option<*mut Entry> {
    let set = maps::ORIGINS.get_ptr_mut(set_of(cookie, maps::ORIGINS_MASK.load()))?;
    Some(set.cast::<Entry>())
}

/// The entry that a socket has.
#[inline(always)]
fn entry_of(cookie: u64) -> Option<*mut Entry> {
    let set = set(cookie)?;
    for index in 0..ENTRIES_PER_SET {
        // SAFETY: `index` is below the number of entries in a set.
        let entry = unsafe { set.add(index) };
        // SAFETY: `entry` is one of ORIGINS.
        if unsafe { atomic::load(&raw const (*entry).cookie) } == cookie {
            return Some(entry);
        }
    }
    None
}

/// A free entry, now this socket's.
#[inline(always)]
fn claim(cookie: u64) -> Option<*mut Entry> {
    let set = set(cookie)?;
    for index in 0..ENTRIES_PER_SET {
        // SAFETY: `index` is below the number of entries in a set.
        let entry = unsafe { set.add(index) };
        // SAFETY: `entry` is one of ORIGINS. The read first: an entry that is taken costs no atomic.
        unsafe {
            if atomic::load(&raw const (*entry).cookie) == 0
                && atomic::replace(&raw mut (*entry).cookie, 0, cookie)
            {
                return Some(entry);
            }
        }
    }
    None
}

#[inline(always)]
fn count(backend: *mut Backend) {
    // SAFETY: `backend` is a value of BACKENDS.
    unsafe { atomic::add(&raw mut (*backend).active, 1) };
}

#[inline(always)]
fn uncount(pair: Pair) {
    if pair.frontend == 0 {
        return;
    }
    if let Some(backend) = maps::BACKENDS.get_ptr_mut(pair.backend) {
        // SAFETY: the look-up gave a backend.
        unsafe { atomic::add(&raw mut (*backend).active, u64::MAX) };
    }
}

#[inline(always)]
fn spilled() -> bool {
    maps::SPILLED
        .get_ptr(0)
        // SAFETY: the look-up gave a word.
        .is_some_and(|number| unsafe { atomic::load(number) } != 0)
}

#[inline(always)]
fn add_spilled(number: u64) {
    if let Some(word) = maps::SPILLED.get_ptr_mut(0) {
        // SAFETY: the look-up gave a word.
        unsafe { atomic::add(word, number) };
    }
}

#[inline(always)]
fn forget_spilled(cookie: u64) {
    let Some(element) = maps::SPILL.get_ptr(cookie) else {
        return;
    };
    // SAFETY: the look-up gave a word.
    let pair = Pair::from_word(unsafe { atomic::load(element) });
    if maps::SPILL.remove(cookie).is_ok() {
        uncount(pair);
        add_spilled(u64::MAX);
    }
}
