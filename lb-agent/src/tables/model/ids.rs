//! An allocator of a table's ids.

use std::ops::Range;

/// Ids from 1 up to a table's length; 0 means none everywhere.
#[derive(Debug)]
pub struct Ids {
    /// A bit for each free id.
    free: Vec<u64>,
    left: usize,
    /// The lowest word of `free` that may have a bit.
    low: usize,
    /// The word at which [`Self::take_from`] continues.
    other: usize,
}

impl Ids {
    /// All ids of a table but those in use.
    ///
    /// `used`: within the table.
    #[must_use]
    pub fn without(length: u32, used: &[u32]) -> Self {
        let words = (length as usize).div_ceil(BITS);
        let mut ids = Self {
            free: vec![0; words],
            left: 0,
            low: words,
            other: words,
        };
        for id in 1..length {
            ids.release(id);
        }
        for &id in used {
            ids.take_this(id);
        }
        ids
    }

    /// Takes the lowest free id; none if there is none.
    pub fn take(&mut self) -> Option<u32> {
        let id = self.lowest()?;
        self.take_this(id).then_some(id)
    }

    /// The lowest free id, which stays free.
    pub fn lowest(&mut self) -> Option<u32> {
        while *self.free.get(self.low)? == 0 {
            self.low += 1;
        }
        Some(id(self.low, self.free[self.low].trailing_zeros()))
    }

    /// Takes one of these ids if it is free, else one from `others` on, else any.
    pub fn take_preferred(&mut self, mut preferred: Range<u32>, others: u32) -> Option<u32> {
        preferred
            .find(|&id| self.take_this(id))
            .or_else(|| self.take_from(others))
            .or_else(|| self.take())
    }

    /// Takes a free id from there on, or, once all of these were taken, any from the first on that was released.
    fn take_from(&mut self, first: u32) -> Option<u32> {
        self.other = self.other.max(place(first).0);
        while *self.free.get(self.other)? == 0 {
            self.other += 1;
        }
        let free = self.free[self.other];
        let id = id(self.other, free.trailing_zeros());
        self.take_this(id).then_some(id)
    }

    /// Takes this id. Returns whether it was free.
    pub fn take_this(&mut self, id: u32) -> bool {
        let (word, bit) = place(id);
        let is_free = self.free.get(word).is_some_and(|word| word & bit != 0);
        if is_free {
            self.free[word] &= !bit;
            self.left -= 1;
        }
        is_free
    }

    pub fn release(&mut self, id: u32) {
        let (word, bit) = place(id);
        debug_assert!(self.free[word] & bit == 0, "{id} is released twice");
        self.free[word] |= bit;
        self.left += 1;
        self.low = self.low.min(word);
        self.other = self.other.min(word);
    }

    /// How many ids are free.
    #[must_use]
    pub const fn left(&self) -> usize {
        self.left
    }

    /// All free ids, sorted.
    #[cfg(any(test, feature = "fuzzing"))]
    pub fn all_left(&self) -> Vec<u32> {
        let words = self.free.iter().enumerate();
        let bits = |(index, &word): (usize, &u64)| {
            (0..64)
                .filter(move |bit| word >> bit & 1 == 1)
                .map(move |bit| id(index, bit))
        };
        words.flat_map(bits).collect()
    }
}

const BITS: usize = 64;

/// The word and the bit of an id.
const fn place(id: u32) -> (usize, u64) {
    (id as usize / BITS, 1 << (id as usize % BITS))
}

#[expect(clippy::cast_possible_truncation, reason = "ids are of 32 bits")]
const fn id(word: usize, bit: u32) -> u32 {
    (word * BITS) as u32 + bit
}

#[cfg(test)]
mod tests {
    use super::Ids;

    #[test]
    fn each_id_is_allocated_once() {
        let mut ids = Ids::without(6, &[2, 4]);
        assert_eq!(ids.left(), 3);
        let mut given: Vec<u32> = std::iter::from_fn(|| ids.take()).collect();
        given.sort_unstable();
        assert_eq!(given, [1, 3, 5]);
        ids.release(3);
        assert_eq!(ids.take(), Some(3));
        assert_eq!(ids.take(), None);
    }

    #[test]
    fn preferred_ids_are_allocated_first() {
        let mut ids = Ids::without(200, &[5]);
        assert_eq!(ids.lowest(), Some(1));
        let mut take = |number| {
            let taken = std::iter::from_fn(|| ids.take_preferred(4..8, 128));
            taken.take(number).collect::<Vec<_>>()
        };
        assert_eq!(take(5), [4, 6, 7, 128, 129]);
        assert_eq!(take(70).last(), Some(&199));
        assert_eq!(take(2), [1, 2]);
        ids.release(150);
        assert_eq!(ids.take_preferred(4..8, 128), Some(150));
        assert!(!ids.take_this(150));
        assert!(!ids.take_this(200), "not within the table");
        while ids.take().is_some() {}
        assert_eq!((ids.left(), ids.lowest()), (0, None));
        assert_eq!(ids.take_preferred(4..8, 128), None);
    }

    #[test]
    fn a_table_can_be_too_small_for_any_id() {
        assert_eq!(Ids::without(0, &[]).take(), None);
        assert_eq!(Ids::without(1, &[]).take(), None);
    }
}
