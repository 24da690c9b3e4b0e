//! FILTER: which keys FRONTENDS surely does not have.
//!
//! A bit is set before its key goes in. When a key goes out its bit stays, since another key may have the same; once that
//! has happened often, the filter is made anew from the keys that are there. Bits of keys that are in FRONTENDS are set at
//! every moment of that, so readers go on meanwhile.

use std::sync::atomic::Ordering;

use aya::Ebpf;
use lb_common::FrontendKey;
use lb_common::frontend::filter::{WORDS, word_and_bit};

use super::mapped::Mapped;
use crate::kernel::node::error::KernelError;

/// Bits that may be set for nothing, of half a million: 1.6 % of the misses then cost a look-up.
const MOST_STALE: usize = 8_192;

#[derive(Debug)]
pub struct Filter {
    words: Mapped,
    /// Keys that went out, or did not come in, since it was made.
    stale: usize,
}

impl Filter {
    /// To be made anew before it is relied on.
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

    /// A key is about to go in.
    pub fn add(&self, key: &FrontendKey) {
        let (word, bit) = word_and_bit(key.tag());
        self.words.word(word, 0).fetch_or(bit, Ordering::Release);
    }

    /// A key has gone out, or did not come in. Returns whether the filter is to be made anew.
    #[must_use]
    pub fn remove(&mut self) -> bool {
        self.stale += 1;
        self.stale > MOST_STALE
    }

    /// Sets the bit of a key that is in FRONTENDS. Returns whether it was not.
    pub fn repair(&self, key: &FrontendKey) -> bool {
        let (word, bit) = word_and_bit(key.tag());
        self.words.word(word, 0).fetch_or(bit, Ordering::AcqRel) & bit == 0
    }

    /// Clears bits that are set for nothing, if there are more than keys that went out. Returns how many words were wrong.
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

    /// Makes it anew from all keys that are in FRONTENDS.
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

/// With the bits of these keys and no others.
fn words(keys: impl Iterator<Item = FrontendKey>) -> Vec<u64> {
    let mut words = vec![0; WORDS as usize];
    for key in keys {
        let (word, bit) = word_and_bit(key.tag());
        words[word as usize] |= bit;
    }
    words
}
