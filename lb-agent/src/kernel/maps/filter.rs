//! FILTER: a filter of keys that are certainly not in FRONTENDS.
//!
//! The bit is set before the key is added. Its bit stays when the key is removed, since another key may have the same
//! bit. After many removals the filter is rebuilt from the keys in FRONTENDS. The bits of keys in FRONTENDS stay set
//! throughout a rebuild, so readers continue meanwhile.

use std::sync::atomic::Ordering;

use aya::Ebpf;
use lb_common::FrontendKey;
use lb_common::frontend::filter::{WORDS, word_and_bit};

use super::mapped::Mapped;
use crate::kernel::node::error::KernelError;

/// The limit of stale bits, of half a million: 1.6 % of the misses then cost a look-up.
const MOST_STALE: usize = 8_192;

#[derive(Debug)]
pub struct Filter {
    words: Mapped,
    /// The number of keys that were removed, or not added, since the last rebuild.
    stale: usize,
}

impl Filter {
    /// The filter must be rebuilt before use.
    pub fn take(object: &mut Ebpf) -> Result<Self, KernelError> {
        let words = Mapped::take(object, "FILTER", 1)?;
        if words.length != WORDS {
            return Err(KernelError::Object(format!(
                "map FILTER has {} words instead of {WORDS}",
                words.length
            )));
        }
        Ok(Self { words, stale: 0 })
    }

    /// Sets the bit of a key. Call it before adding the key.
    pub fn add(&self, key: &FrontendKey) {
        let (word, bit) = word_and_bit(key.tag());
        self.words.word(word, 0).fetch_or(bit, Ordering::Release);
    }

    /// Counts a key that was removed, or not added. Returns whether the filter should be rebuilt.
    #[must_use]
    pub fn remove(&mut self) -> bool {
        self.stale += 1;
        self.stale > MOST_STALE
    }

    /// Sets the bit of a key that is in FRONTENDS. Returns whether the bit was missing.
    pub fn repair(&self, key: &FrontendKey) -> bool {
        let (word, bit) = word_and_bit(key.tag());
        self.words.word(word, 0).fetch_or(bit, Ordering::AcqRel) & bit == 0
    }

    /// Whether the bit of a key is set.
    pub fn has(&self, key: &FrontendKey) -> bool {
        let (word, bit) = word_and_bit(key.tag());
        self.words.word(word, 0).load(Ordering::Acquire) & bit != 0
    }

    /// Clears stale bits if there are more of them than removed keys. Returns the number of wrong words.
    pub fn prune(&mut self, keys: impl Iterator<Item = FrontendKey>) -> usize {
        let wanted = words(keys);
        let mut surplus = 0;
        let mut wrong = 0;
        for (index, wanted) in (0..WORDS).zip(&wanted) {
            let there = self.words.word(index, 0).load(Ordering::Acquire);
            surplus += (there & !wanted).count_ones() as usize;
            wrong += usize::from(there != *wanted);
        }
        if surplus <= self.stale {
            return 0;
        }
        self.store(&wanted);
        wrong
    }

    /// Rebuilds the filter from all keys in FRONTENDS.
    pub fn make(&mut self, keys: impl Iterator<Item = FrontendKey>) {
        self.store(&words(keys));
    }

    fn store(&mut self, words: &[u64]) {
        for (index, word) in (0..WORDS).zip(words) {
            self.words.word(index, 0).store(*word, Ordering::Release);
        }
        self.stale = 0;
    }
}

/// The words with the bits of exactly these keys.
fn words(keys: impl Iterator<Item = FrontendKey>) -> Vec<u64> {
    let mut words = vec![0; WORDS as usize];
    for key in keys {
        let (word, bit) = word_and_bit(key.tag());
        words[word as usize] |= bit;
    }
    words
}
