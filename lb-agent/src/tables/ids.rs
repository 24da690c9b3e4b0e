//! Gives out the ids of a table and takes them back.

/// Ids from 1 up to a table's length; 0 stands for none everywhere.
#[derive(Debug)]
pub struct Ids {
    /// Below the next fresh one, in no order.
    free: Vec<u32>,
    next: u32,
    length: u32,
}

impl Ids {
    /// All ids of a table but those in use.
    ///
    /// `used`: sorted, without duplicates, within the table.
    #[must_use]
    pub fn without(length: u32, used: &[u32]) -> Self {
        let mut free = Vec::new();
        let mut next = 1;
        for &id in used {
            free.extend(next..id);
            next = id + 1;
        }
        Self { free, next, length }
    }

    /// An id that nobody uses; none when all are in use.
    pub fn take(&mut self) -> Option<u32> {
        if let Some(id) = self.free.pop() {
            return Some(id);
        }
        if self.next >= self.length {
            return None;
        }
        self.next += 1;
        Some(self.next - 1)
    }

    pub fn give_back(&mut self, id: u32) {
        self.free.push(id);
    }

    /// How many are left.
    #[must_use]
    pub fn left(&self) -> usize {
        self.free.len() + (self.length.saturating_sub(self.next)) as usize
    }

    /// All that are left, sorted.
    #[cfg(test)]
    pub fn all_left(&self) -> Vec<u32> {
        let mut ids: Vec<u32> = self
            .free
            .iter()
            .copied()
            .chain(self.next..self.length)
            .collect();
        ids.sort_unstable();
        ids
    }
}

#[cfg(test)]
mod tests {
    use super::Ids;

    #[test]
    fn every_id_is_given_out_once() {
        let mut ids = Ids::without(6, &[2, 4]);
        assert_eq!(ids.left(), 3);
        let mut given: Vec<u32> = std::iter::from_fn(|| ids.take()).collect();
        given.sort_unstable();
        assert_eq!(given, [1, 3, 5]);
        ids.give_back(3);
        assert_eq!(ids.take(), Some(3));
        assert_eq!(ids.take(), None);
    }

    #[test]
    fn a_table_may_be_too_small_for_any_id() {
        assert_eq!(Ids::without(0, &[]).take(), None);
        assert_eq!(Ids::without(1, &[]).take(), None);
    }
}
