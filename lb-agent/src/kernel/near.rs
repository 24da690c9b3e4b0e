//! NEAR_FRONTENDS: a copy of what FRONTENDS says of IPv4 frontends, as far as their lines have room.
//!
//! A frontend goes into FRONTENDS before it comes here, and leaves from here before it leaves FRONTENDS; so whoever does not
//! find it here finds the truth there.

use std::sync::atomic::Ordering;

use aya::Ebpf;
use lb_common::near::{CELLS, Cell, LINES, Line};
use lb_common::{FrontendKey, FrontendValue};

use super::KernelError;
use super::mapped::Mapped;

#[derive(Debug)]
pub struct Near {
    lines: Mapped,
}

impl Near {
    /// Empty, whatever an earlier agent left there.
    pub fn take(object: &mut Ebpf) -> Result<Self, KernelError> {
        let lines = Mapped::take(object, "NEAR_FRONTENDS", Line::WORDS)?;
        if lines.length != LINES {
            return Err(KernelError::Maps(format!(
                "NEAR_FRONTENDS has {} lines instead of {LINES}",
                lines.length
            )));
        }
        let near = Self { lines };
        for line in 0..LINES {
            for cell in 0..CELLS {
                near.store(line, cell, KEY, 0);
            }
        }
        Ok(near)
    }

    /// An element of FRONTENDS is new, or says something else now.
    pub fn put(&self, key: &FrontendKey, value: &FrontendValue) {
        let Some(word) = Cell::key(key) else { return };
        let line = Line::of(key.tag());
        let said = value
            .read(key.tag())
            .and_then(|target| Cell::value(key.tag(), target));
        let Some(said) = said else {
            return self.remove(key);
        };
        if let Some(cell) = self.find(line, word) {
            self.store(line, cell, VALUE, said);
        } else if let Some(cell) = self.find(line, 0) {
            self.store(line, cell, VALUE, said);
            self.store(line, cell, KEY, word);
        }
    }

    /// An element of FRONTENDS is about to go.
    pub fn remove(&self, key: &FrontendKey) {
        let Some(word) = Cell::key(key) else { return };
        let line = Line::of(key.tag());
        if let Some(cell) = self.find(line, word) {
            self.store(line, cell, KEY, 0);
        }
    }

    fn find(&self, line: u32, key: u64) -> Option<usize> {
        (0..CELLS).find(|cell| {
            let word = self.lines.word(line, cell * WORDS + KEY);
            word.load(Ordering::Acquire) == key
        })
    }

    fn store(&self, line: u32, cell: usize, word: usize, value: u64) {
        self.lines
            .word(line, cell * WORDS + word)
            .store(value, Ordering::Release);
    }
}

/// Words of a cell.
const WORDS: usize = size_of::<Cell>() / 8;
const KEY: usize = 0;
const VALUE: usize = 1;
