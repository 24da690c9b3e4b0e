//! `active` of backends: whether as many ways and elements of SPILL name each as it says.
//!
//! Sockets come and go while that is counted. Only a difference that stands at two checks, with no connection between them
//! and the same sockets, is one; a backend that is never without connects is not judged.

use std::collections::HashMap;
use std::io;

use lb_common::Backend as BackendLine;

use super::super::resting::Item;
use super::super::{Backing, Table, Tables};
use super::report::Found;

/// What two checks know of the backends.
#[derive(Debug, Default)]
pub struct Counts {
    /// By backend, in this check; none when that could not be read.
    places: Option<HashMap<u32, Places>>,
    /// Those whose count differed in the check before.
    suspects: HashMap<u32, Look>,
    /// Those whose count differs in this check.
    next: HashMap<u32, Look>,
}

/// The places that name a backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Places {
    number: u64,
    /// Changes when another socket has one of them.
    sockets: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Look {
    places: Places,
    connections: u64,
    active: u64,
}

impl Counts {
    /// Looks at all places.
    pub fn begin(&mut self, backing: &impl Backing) -> io::Result<()> {
        self.places = None;
        let mut places: HashMap<u32, Places> = HashMap::new();
        backing.places(&mut |cookie, pair| {
            if pair.frontend != 0 {
                let of = places.entry(pair.backend).or_default();
                of.number += 1;
                of.sockets = of.sockets.wrapping_add(mixed(cookie));
            }
        })?;
        self.places = Some(places);
        Ok(())
    }

    /// A check is over: what it suspects the next one looks at.
    pub fn end(&mut self) {
        self.places = None;
        self.suspects = std::mem::take(&mut self.next);
    }

    fn check(&mut self, backing: &mut impl Backing, id: u32, found: &mut Found) {
        let Some(places) = &self.places else {
            return;
        };
        let load = |word| backing.load(Table::Backends, id, word);
        let look = Look {
            places: places.get(&id).copied().unwrap_or_default(),
            connections: load(BackendLine::CONNECTIONS_WORD),
            active: load(BackendLine::ACTIVE_WORD),
        };
        let number = look.places.number;
        if look.active == number {
            return;
        }
        let (table, word) = (Table::Backends, BackendLine::ACTIVE_WORD);
        if self.suspects.get(&id) == Some(&look)
            && backing.replace(table, id, word, look.active, number)
        {
            found.add("active", 1);
        } else {
            self.next.insert(id, look);
        }
    }
}

/// The finalizer of SplitMix64, so that sums of cookies, which come in sequence, tell sets of them apart.
const fn mixed(cookie: u64) -> u64 {
    let mixed = (cookie ^ cookie >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

impl<B: Backing> Tables<B> {
    pub(super) fn check_counts_of(&mut self, port: u32, counts: &mut Counts, found: &mut Found) {
        let Some(port) = self.ports.get(&port) else {
            return;
        };
        for member in &port.members {
            counts.check(&mut self.backing, member.id, found);
        }
    }

    /// Backends that have left go on being counted, and rest for as long as that says more than 0.
    pub(super) fn check_counts_of_resting(&mut self, counts: &mut Counts, found: &mut Found) {
        for item in &self.resting.named {
            if let Item::Backend(id) = item {
                counts.check(&mut self.backing, *id, found);
            }
        }
    }
}
