//! An allocator of runs of cells: a bank of the view's own cells for a short run, else the smallest free extent of SLOTS that fits.
//! Neighbouring extents are joined when a run is released.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use lb_common::view::{BANK_SLOTS, banks, is_own};

/// The free extents of SLOTS.
#[derive(Debug, Default)]
pub struct Extents {
    /// First cell to number of cells.
    by_base: BTreeMap<u32, u32>,
    /// The same as (number of cells, first cell).
    by_length: BTreeSet<(u32, u32)>,
    /// The first cells of views' own banks that are in use or quarantined.
    banks: HashSet<u32>,
    /// Cells in free extents.
    left: u64,
}

impl Extents {
    /// All cells but the runs in use.
    ///
    /// `used`: (first cell, number of cells), sorted, not overlapping, within the table or views' own.
    #[must_use]
    pub fn without(cells: u32, used: &[(u32, u32)]) -> Self {
        let mut extents = Self::default();
        let mut next = 0;
        for &(base, length) in used {
            if is_own(base) {
                extents.banks.insert(base);
                continue;
            }
            extents.add(next, base - next);
            next = base + length;
        }
        extents.add(next, cells - next);
        extents
    }

    /// Takes a run of so many cells. Returns its first cell; none if no extent is long enough.
    pub fn take(&mut self, cells: u32) -> Option<u32> {
        let &(length, base) = self.by_length.range((cells, 0)..).next()?;
        self.remove(base, length);
        self.add(base + cells, length - cells);
        Some(base)
    }

    /// Takes a bank of the view's own cells. Returns its first cell; none if the run is too long or both banks are in use.
    pub fn take_own(&mut self, view: u32, slots: u32) -> Option<u32> {
        let is_short = slots <= BANK_SLOTS;
        banks(view)
            .into_iter()
            .find(|&bank| is_short && self.banks.insert(bank))
    }

    pub fn release(&mut self, base: u32, cells: u32) {
        let (mut base, mut cells) = (base, cells);
        if cells == 0 || self.banks.remove(&base) {
            return;
        }
        if let Some((&before, &length)) = self.by_base.range(..base).next_back()
            && before + length == base
        {
            self.remove(before, length);
            base = before;
            cells += length;
        }
        if let Some(&length) = self.by_base.get(&(base + cells)) {
            self.remove(base + cells, length);
            cells += length;
        }
        self.add(base, cells);
    }

    /// How many cells are free, in one piece or not.
    #[must_use]
    pub const fn left(&self) -> u64 {
        self.left
    }

    /// The longest run that can be taken.
    #[must_use]
    pub fn longest(&self) -> u32 {
        self.by_length.last().map_or(0, |&(length, _)| length)
    }

    /// The first cells of views' own banks that are in use.
    #[cfg(any(test, feature = "fuzzing"))]
    pub fn banks(&self) -> &HashSet<u32> {
        &self.banks
    }

    /// All free extents.
    #[cfg(any(test, feature = "fuzzing"))]
    pub fn all_left(&self) -> Vec<(u32, u32)> {
        self.by_base
            .iter()
            .map(|(&base, &length)| (base, length))
            .collect()
    }

    fn add(&mut self, base: u32, cells: u32) {
        if cells > 0 {
            self.by_base.insert(base, cells);
            self.by_length.insert((cells, base));
            self.left += u64::from(cells);
        }
    }

    fn remove(&mut self, base: u32, cells: u32) {
        self.by_base.remove(&base);
        self.by_length.remove(&(cells, base));
        self.left -= u64::from(cells);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Extents;

    #[test]
    fn the_smallest_sufficient_extent_is_taken() {
        let mut extents = Extents::without(20, &[(4, 1), (8, 2)]);
        assert_eq!(extents.take(3), Some(5));
        assert_eq!(extents.take(4), Some(0));
        assert_eq!(extents.take(11), None);
        assert_eq!((extents.left(), extents.longest()), (10, 10));
        assert_eq!(extents.take(10), Some(10));
        assert_eq!((extents.left(), extents.longest()), (0, 0));
    }

    proptest! {
        #[test]
        fn runs_never_overlap_and_all_are_returned(sizes in prop::collection::vec(1_u32..20, 1..60)) {
            let mut extents = Extents::without(400, &[]);
            let mut held: Vec<(u32, u32)> = Vec::new();
            for (turn, &cells) in sizes.iter().enumerate() {
                if let Some(base) = extents.take(cells) {
                    prop_assert!(held.iter().all(|&(b, c)| base + cells <= b || b + c <= base));
                    held.push((base, cells));
                }
                if turn % 3 == 2 {
                    let (base, cells) = held.swap_remove(turn % held.len());
                    extents.release(base, cells);
                }
            }
            for (base, cells) in held {
                extents.release(base, cells);
            }
            prop_assert_eq!(extents.all_left(), vec![(0, 400)]);
        }
    }
}
