//! Ids and runs that were freed and may still be in a reader's hands.
//!
//! All of them wait for a grace period. After it, a run and a view index are free. A backend id stays until no entry of
//! ORIGINS or SPILL counts on it, a frontend id until no entry names it.

/// Something that the allocators give out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item {
    Run { base: u32, cells: u32 },
    View(u32),
    Backend(u32),
    Frontend(u32),
}

/// The three stages of the quarantine.
#[derive(Debug, Default)]
pub struct Quarantine {
    /// Freed since the current grace period began.
    fresh: Vec<Item>,
    /// Waits for the current grace period.
    waiting: Vec<Item>,
    under_way: bool,
    /// In no running program's hands, but perhaps in ORIGINS or SPILL.
    pub named: Vec<Item>,
}

impl Quarantine {
    pub fn add(&mut self, item: Item) {
        self.fresh.push(item);
    }

    /// Starts a grace period if something waits for one and none is under way.
    #[must_use]
    pub fn begin_grace(&mut self) -> bool {
        if self.under_way || self.fresh.is_empty() {
            return false;
        }
        self.waiting = std::mem::take(&mut self.fresh);
        self.under_way = true;
        true
    }

    /// The grace period is over. Returns what had waited for it.
    pub fn end_grace(&mut self) -> Vec<Item> {
        self.under_way = false;
        std::mem::take(&mut self.waiting)
    }

    /// The backend ids in it.
    pub fn backends(&self) -> impl Iterator<Item = u32> {
        let stages = [&self.fresh, &self.waiting, &self.named];
        stages.into_iter().flatten().filter_map(|item| match item {
            Item::Backend(id) => Some(*id),
            _ => None,
        })
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.fresh.len() + self.waiting.len() + self.named.len()
    }

    /// All items.
    #[cfg(any(test, feature = "fuzzing"))]
    pub fn all(&self) -> impl Iterator<Item = Item> {
        [&self.fresh, &self.waiting, &self.named]
            .into_iter()
            .flatten()
            .copied()
    }
}
