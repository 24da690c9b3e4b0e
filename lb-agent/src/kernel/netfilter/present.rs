//! Which keys the maps have: the kernel refuses to delete a missing element, and to add one with another value.

use super::element::Family;

/// A bit for each id and family.
#[derive(Clone, Debug, Default)]
pub struct Present {
    ipv4: Vec<u64>,
    ipv6: Vec<u64>,
}

const BITS: u32 = u64::BITS;

impl Present {
    pub fn has(&self, family: Family, id: u32) -> bool {
        let words = match family {
            Family::Ipv4 => &self.ipv4,
            Family::Ipv6 => &self.ipv6,
        };
        let word = words.get((id / BITS) as usize).copied();
        word.unwrap_or_default() & 1 << (id % BITS) != 0
    }

    pub fn insert(&mut self, family: Family, id: u32) {
        let words = self.words(family);
        let index = (id / BITS) as usize;
        if words.len() <= index {
            words.resize(index + 1, 0);
        }
        words[index] |= 1 << (id % BITS);
    }

    pub fn remove(&mut self, family: Family, id: u32) {
        if let Some(word) = self.words(family).get_mut((id / BITS) as usize) {
            *word &= !(1 << (id % BITS));
        }
    }

    const fn words(&mut self, family: Family) -> &mut Vec<u64> {
        match family {
            Family::Ipv4 => &mut self.ipv4,
            Family::Ipv6 => &mut self.ipv6,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_family_has_bits_of_its_own() {
        let mut present = Present::default();
        for id in [0, 63, 64, 100_000] {
            present.insert(Family::Ipv4, id);
        }
        assert!(present.has(Family::Ipv4, 63) && present.has(Family::Ipv4, 100_000));
        assert!(!present.has(Family::Ipv4, 62) && !present.has(Family::Ipv6, 63));
        present.remove(Family::Ipv4, 63);
        present.remove(Family::Ipv6, 1 << 23);
        assert!(!present.has(Family::Ipv4, 63) && present.has(Family::Ipv4, 64));
        assert!(!present.has(Family::Ipv4, u32::MAX));
    }
}
