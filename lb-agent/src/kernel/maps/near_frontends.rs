//! NEAR_FRONTENDS: a copy of the IPv4 frontends in FRONTENDS, as far as their lines have room.
//!
//! A frontend is added to FRONTENDS before it is added here, and removed from here before it is removed from FRONTENDS.
//! A reader that does not find it here finds it in FRONTENDS.

use std::collections::HashSet;
use std::sync::atomic::Ordering;

use aya::Ebpf;
use lb_common::near::{FRONTENDS_PER_LINE, LINES, NearFrontend, NearLine};
use lb_common::{FrontendKey, FrontendValue};

use super::mapped::Mapped;
use crate::kernel::node::error::KernelError;
use crate::tables::Elements;

#[derive(Debug)]
pub struct NearFrontends {
    lines: Mapped,
    /// Frontends for which their lines have no room.
    omitted: HashSet<FrontendKey>,
}

impl NearFrontends {
    /// Takes the map out of the object and clears what an earlier agent left there.
    pub fn take(object: &mut Ebpf) -> Result<Self, KernelError> {
        let lines = Mapped::take(object, "NEAR_FRONTENDS", NearLine::WORDS)?;
        if lines.length != LINES {
            return Err(KernelError::Object(format!(
                "map NEAR_FRONTENDS has {} lines instead of {LINES}",
                lines.length
            )));
        }
        let near = Self {
            lines,
            omitted: HashSet::new(),
        };
        for line in 0..LINES {
            for cell in 0..FRONTENDS_PER_LINE {
                near.store(line, cell, KEY, 0);
            }
        }
        Ok(near)
    }

    /// Copies a new or changed element of FRONTENDS.
    pub fn put(&mut self, key: &FrontendKey, value: &FrontendValue) {
        self.repair(key, value);
    }

    /// Does the same as [`Self::put`] for an element that should be unchanged. Returns whether the copy was different.
    pub fn repair(&mut self, key: &FrontendKey, value: &FrontendValue) -> bool {
        let Some(word) = NearFrontend::key_word(key) else {
            return false;
        };
        let line = NearLine::index(key.tag());
        let Some(copy) = copy_of(key, value) else {
            self.remove(key);
            return false;
        };
        if let Some(cell) = self.find(line, word) {
            let differs = self.load(line, cell, VALUE) != copy;
            if differs {
                self.store(line, cell, VALUE, copy);
            }
            return differs;
        }
        if let Some(cell) = self.find(line, 0) {
            self.store(line, cell, VALUE, copy);
            self.store(line, cell, KEY, word);
            return self.omitted.is_empty() || !self.omitted.remove(key);
        }
        self.omitted.insert(*key);
        false
    }

    /// Whether the copy of an element has another value than the element. An element without a copy does not differ.
    pub fn differs(&self, key: &FrontendKey, value: &FrontendValue) -> bool {
        let Some(word) = NearFrontend::key_word(key) else {
            return false;
        };
        let line = NearLine::index(key.tag());
        let cell = self.find(line, word);
        cell.is_some_and(|cell| Some(self.load(line, cell, VALUE)) != copy_of(key, value))
    }

    /// Checks some lines from this one on: clears cells that are no copy of an element, and repairs those with another
    /// value. Returns the number of wrong cells, and the next line; none after the last.
    pub fn prune(&self, from: u32, elements: &dyn Elements) -> (usize, Option<u32>) {
        let end = from.saturating_add(PORTION).min(LINES);
        let mut wrong = 0;
        for line in from..end {
            for cell in 0..FRONTENDS_PER_LINE {
                let word = self.load(line, cell, KEY);
                if word == 0 {
                    continue;
                }
                let key = NearFrontend::frontend_key(word).filter(|key| {
                    NearLine::index(key.tag()) == line && self.find(line, word) == Some(cell)
                });
                let wanted = key.and_then(|key| copy_of(&key, &elements.value(&key)?));
                match wanted {
                    None => self.store(line, cell, KEY, 0),
                    Some(copy) if copy != self.load(line, cell, VALUE) => {
                        self.store(line, cell, VALUE, copy);
                    }
                    Some(_) => continue,
                }
                wrong += 1;
            }
        }
        (wrong, (end < LINES).then_some(end))
    }

    /// Removes the copy of an element. Call it before removing the element from FRONTENDS.
    pub fn remove(&mut self, key: &FrontendKey) {
        let Some(word) = NearFrontend::key_word(key) else {
            return;
        };
        if !self.omitted.is_empty() {
            self.omitted.remove(key);
        }
        let line = NearLine::index(key.tag());
        if let Some(cell) = self.find(line, word) {
            self.store(line, cell, KEY, 0);
        }
    }

    fn find(&self, line: u32, key: u64) -> Option<usize> {
        (0..FRONTENDS_PER_LINE).find(|&cell| self.load(line, cell, KEY) == key)
    }

    fn load(&self, line: u32, cell: usize, word: usize) -> u64 {
        self.lines
            .word(line, cell * WORDS + word)
            .load(Ordering::Acquire)
    }

    fn store(&self, line: u32, cell: usize, word: usize, value: u64) {
        self.lines
            .word(line, cell * WORDS + word)
            .store(value, Ordering::Release);
    }
}

/// The word for the value of an element of FRONTENDS; none if it cannot be stored here.
fn copy_of(key: &FrontendKey, value: &FrontendValue) -> Option<u64> {
    let target = value.read(key.tag())?;
    NearFrontend::value_word(key.tag(), target)
}

/// The number of lines in one check, which takes some hundred µs.
const PORTION: u32 = 4_096;

/// Words of a cell.
const WORDS: usize = size_of::<NearFrontend>() / 8;
const KEY: usize = 0;
const VALUE: usize = 1;
