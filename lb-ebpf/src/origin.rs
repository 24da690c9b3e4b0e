//! What a socket asked for: its entry in ORIGINS, or its element in SPILL if its set is full.
//!
//! `active` of a backend is the number of entries and elements that refer to it. So only this file changes either, and
//! always both. The pair is exchanged, not stored: the kernel runs the connect hook of a UDP socket without the
//! socket's lock (`inet_dgram_connect`), so two threads may be here at once.

use aya_ebpf::bindings::BPF_NOEXIST;
use lb_common::Pair;
use lb_common::origin::{ENTRIES_PER_SET, Entry, HAS_FLOWS, set_of};

use crate::atomic::Word;
use crate::backend::BackendLine;
use crate::{maps, outlier};

/// Stores a socket's pair in place of the one that it had, and counts it in its backend.
///
/// A socket that finds neither a free entry nor room in SPILL is not counted in `active`, and `getpeername` reports the
/// backend.
#[inline(always)]
pub fn remember(cookie: u64, pair: Pair, backend: BackendLine) {
    backend.count_connection();
    outlier::note_trial(backend, cookie);
    if let Some(entry) = entry_of(cookie).or_else(|| claim(cookie)) {
        let old = entry.pair.exchange(pair.to_word());
        backend.count_active();
        uncount(Pair::from_word(old));
        if is_any_spilled() {
            forget_spilled(cookie);
        }
        return;
    }
    forget_spilled(cookie);
    // If another thread has inserted this socket's pair meanwhile, only that one counts.
    if maps::SPILL
        .insert(cookie, pair.to_word(), u64::from(BPF_NOEXIST))
        .is_ok()
    {
        backend.count_active();
        add_to_spilled(1);
    }
}

/// Notes that FLOWS or REPLIES contain more about a socket.
#[inline(always)]
pub fn mark_flows(cookie: u64) {
    // An OR, so that a pair that another thread has just exchanged stays.
    if let Some(entry) = entry_of(cookie) {
        entry.pair.or(HAS_FLOWS);
    } else if let Some(pair) = maps::spilled_pair(cookie) {
        pair.or(HAS_FLOWS);
    }
}

/// What a socket had.
#[derive(Clone, Copy)]
pub struct Forgotten {
    /// Frontend 0: nothing.
    pub pair: Pair,
    /// The line of the pair's backend.
    pub backend: Option<BackendLine>,
}

/// Frees a socket's entry, and its element in SPILL. Returns what the socket had.
#[inline(always)]
pub fn forget(cookie: u64) -> Forgotten {
    let mut had = Forgotten {
        pair: Pair::default(),
        backend: None,
    };
    if let Some(entries) = set(cookie) {
        for entry in entries {
            if entry.cookie.load() == cookie {
                let pair = Pair::from_word(entry.pair.exchange(0));
                entry.cookie.store(0);
                let backend = uncount(pair);
                had = Forgotten { pair, backend };
            }
        }
    }
    if is_any_spilled()
        && let Some(spilled) = forget_spilled(cookie)
    {
        had = spilled;
    }
    had
}

/// What a socket asked for and was given.
#[inline(always)]
pub fn recall(cookie: u64) -> Option<Pair> {
    if let Some(entry) = entry_of(cookie) {
        // Otherwise it may be the pair that the entry's last socket had.
        let pair = entry.pair.after(entry.cookie.load());
        return Some(Pair::from_word(pair.load()));
    }
    if !is_any_spilled() {
        return None;
    }
    let pair = maps::spilled_pair(cookie)?;
    Some(Pair::from_word(pair.load()))
}

/// Reads from the line of the set after this socket's, so that the CPU has it when the next sockets connect: cookies
/// come in sequence on each CPU. Nothing waits for that read.
#[inline(always)]
pub fn prefetch_after(cookie: u64) {
    if let Some(mut entries) = set(cookie.wrapping_add(ENTRIES_PER_SET as u64))
        && let Some(entry) = entries.next()
    {
        entry.cookie.load();
    }
}

/// The words of an entry.
struct EntryWords {
    cookie: Word,
    pair: Word,
}

/// The entries of the set that a socket's entry would be in.
#[inline(always)]
fn set(cookie: u64) -> Option<impl Iterator<Item = EntryWords>> {
    let set = maps::ORIGINS.get_ptr_mut(set_of(cookie, maps::ORIGINS_MASK.load()))?;
    let entries = set.cast::<Entry>();
    Some((0..ENTRIES_PER_SET).map(move |index| {
        // SAFETY: the look-up gave a set, and `index` is below the number of its entries.
        unsafe {
            let entry = entries.add(index);
            EntryWords {
                cookie: Word::new(&raw mut (*entry).cookie),
                pair: Word::new(&raw mut (*entry).pair),
            }
        }
    }))
}

/// A socket's entry.
#[inline(always)]
fn entry_of(cookie: u64) -> Option<EntryWords> {
    set(cookie)?.find(|entry| entry.cookie.load() == cookie)
}

/// A free entry, which is now this socket's.
#[inline(always)]
fn claim(cookie: u64) -> Option<EntryWords> {
    // Reads first, so that an entry in use costs no atomic instruction.
    let is_claimed = |word: Word| word.load() == 0 && word.compare_exchange(0, cookie);
    set(cookie)?.find(|entry| is_claimed(entry.cookie))
}

#[inline(always)]
fn uncount(pair: Pair) -> Option<BackendLine> {
    if pair.frontend == 0 {
        return None;
    }
    let backend = BackendLine::look_up(pair.backend)?;
    backend.uncount_active();
    Some(backend)
}

/// Whether SPILL has any element.
#[inline(always)]
fn is_any_spilled() -> bool {
    maps::word(&maps::SPILLED, 0).is_some_and(|number| number.load() != 0)
}

#[inline(always)]
fn add_to_spilled(number: u64) {
    if let Some(word) = maps::word(&maps::SPILLED, 0) {
        word.add(number);
    }
}

#[inline(always)]
fn forget_spilled(cookie: u64) -> Option<Forgotten> {
    let pair = Pair::from_word(maps::spilled_pair(cookie)?.load());
    maps::SPILL.remove(cookie).ok()?;
    let backend = uncount(pair);
    add_to_spilled(u64::MAX);
    Some(Forgotten { pair, backend })
}
