//! What was taken out of the tables and may still be in a reader's hands.
//!
//! All of it waits for a grace period. Then a run and a view index are free; a backend id is only when no
//! way counts on it, and a frontend id only when no way names it.

/// Something that may be used again when nobody can hold it any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item {
    Run { base: u32, cells: u32 },
    View(u32),
    Backend(u32),
    Frontend(u32),
}

/// The three stages of rest.
#[derive(Debug, Default)]
pub struct Resting {
    /// Retired since the grace period under way began.
    fresh: Vec<Item>,
    /// Waits for the grace period under way.
    waiting: Vec<Item>,
    under_way: bool,
    /// Seen by no running program, but perhaps named in ORIGINS or SPILL.
    pub named: Vec<Item>,
}

impl Resting {
    pub fn add(&mut self, item: Item) {
        self.fresh.push(item);
    }

    /// Begins a grace period if something waits for one and none is under way.
    #[must_use]
    pub fn begin(&mut self) -> bool {
        if self.under_way || self.fresh.is_empty() {
            return false;
        }
        self.waiting = std::mem::take(&mut self.fresh);
        self.under_way = true;
        true
    }

    /// The grace period is over: what had waited for it.
    pub fn end(&mut self) -> Vec<Item> {
        self.under_way = false;
        std::mem::take(&mut self.waiting)
    }

    /// Whether anything rests at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fresh.is_empty() && self.waiting.is_empty() && self.named.is_empty()
    }

    /// All that rests.
    #[cfg(any(test, feature = "fuzzing"))]
    pub fn all(&self) -> impl Iterator<Item = Item> {
        [&self.fresh, &self.waiting, &self.named]
            .into_iter()
            .flatten()
            .copied()
    }

    /// How many things rest.
    #[must_use]
    pub fn len(&self) -> usize {
        self.fresh.len() + self.waiting.len() + self.named.len()
    }
}
