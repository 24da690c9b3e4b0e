//! Reads the current entry of one socket, for a thread that does not own the tables.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use aya::maps::{HashMap, MapData};
use lb_common::origin::Entry;
use lb_common::origin::{Set, set_of};
use lb_common::{Backend, Pair};

use super::mapped::Mapped;

/// Length of an entry in 64-bit words.
pub const ENTRY_WORDS: usize = size_of::<Entry>() / 8;

/// Opened for reading only.
#[derive(Debug)]
pub struct EntryReader {
    pub(super) origins: Arc<Mapped>,
    /// Cookie to pair.
    pub(super) spill: HashMap<MapData, u64, u64>,
    pub(super) spilled: Arc<Mapped>,
    pub(super) backends: Arc<Mapped>,
}

impl EntryReader {
    /// The frontend that a socket asked for and the backend that it got, found as `recall` in lb-ebpf finds them.
    #[must_use]
    pub fn pair(&self, cookie: u64) -> Option<Pair> {
        let set = set_of(cookie, self.origins.length.saturating_sub(1));
        for entry in (0..Set::WORDS).step_by(ENTRY_WORDS) {
            let of = self.origins.word(set, entry).load(Ordering::Acquire);
            if of == cookie {
                let pair = self.origins.word(set, entry + 1).load(Ordering::Acquire);
                return Some(Pair::from_word(pair));
            }
        }
        if self.spilled.word(0, 0).load(Ordering::Acquire) == 0 {
            return None;
        }
        self.spill.get(&cookie, 0).ok().map(Pair::from_word)
    }

    /// The bits of [`lb_common::backend::state`] that are set for a backend.
    #[must_use]
    pub fn state(&self, backend: u32) -> u64 {
        self.word(backend, Backend::STATE_WORD)
    }

    /// Whether outlier detection has ejected a backend.
    #[must_use]
    pub fn is_ejected(&self, backend: u32) -> bool {
        self.word(backend, Backend::EJECTED_WORD) != 0
    }

    /// 0 for an id outside of the table.
    fn word(&self, backend: u32, word: usize) -> u64 {
        if backend >= self.backends.length {
            return 0;
        }
        self.backends.word(backend, word).load(Ordering::Acquire)
    }
}
