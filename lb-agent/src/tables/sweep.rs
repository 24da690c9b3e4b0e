//! Places in ORIGINS and SPILL whose sockets ended unseen.

use std::collections::HashSet;
use std::io;

use super::{Backing, Tables, Usage};

impl<B: Backing> Tables<B> {
    /// The cookies of all sockets that have a place now.
    pub fn holders(&self) -> io::Result<HashSet<u64>> {
        let mut cookies = HashSet::new();
        self.backing.places(&mut |cookie, _| {
            cookies.insert(cookie);
        })?;
        Ok(cookies)
    }

    /// Takes the places of sockets that are gone. Returns how many there were.
    pub fn sweep(&mut self, gone: &HashSet<u64>) -> io::Result<usize> {
        if gone.is_empty() {
            return Ok(0);
        }
        let swept = self.backing.clear_places(gone)?;
        self.free_unnamed();
        Ok(swept)
    }

    /// How full ORIGINS and SPILL are: a pass over ORIGINS.
    #[must_use]
    pub fn places_in_use(&self) -> [Usage; 2] {
        self.backing.places_in_use()
    }
}
