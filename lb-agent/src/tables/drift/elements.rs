//! FRONTENDS and what is kept beside it: each element that should be there, and none that nobody wants.

use std::collections::HashMap;
use std::io;
use std::ops::Bound::{Excluded, Unbounded};

use lb_common::{Address, FrontendKey, FrontendValue};

use super::super::guard::{self, Guards};
use super::super::{Backing, Copies, FrontendState, Part, Tables};
use super::report::Found;

const FRONTENDS: &str = "FRONTENDS";

/// The elements that FRONTENDS is to have.
#[derive(Debug)]
pub struct Elements<'a> {
    frontends: &'a HashMap<FrontendKey, FrontendState>,
    guards: &'a Guards,
}

impl Elements<'_> {
    /// What a key's element is to say; none when there is to be none.
    #[must_use]
    pub fn value(&self, key: &FrontendKey) -> Option<FrontendValue> {
        if let Some(state) = self.frontends.get(key) {
            return Some(state.value(key));
        }
        let what = *self.guards.in_place.get(&key.address)?;
        (guard::key(key.address) == *key).then(|| guard::guard_value(key.address, what))
    }

    pub fn keys(&self) -> impl Iterator<Item = FrontendKey> {
        let guards = self.guards.in_place.keys().copied().map(guard::key);
        self.frontends.keys().copied().chain(guards)
    }
}

impl<B: Backing> Tables<B> {
    /// The guards of so many addresses after this one. Returns the last; none: there are no more.
    pub(super) fn check_guards(
        &mut self,
        after: Option<Address>,
        number: usize,
        found: &mut Found,
    ) -> Option<Address> {
        let from = after.map_or(Unbounded, Excluded);
        let guards = self.guards.in_place.range((from, Unbounded));
        let mut last = None;
        for (&address, &what) in guards.take(number) {
            last = Some(address);
            // One that is about to be written is not known yet.
            if !self.guards.changed.contains(&address) {
                let value = guard::guard_value(address, what);
                check(&mut self.backing, &guard::key(address), &value, found);
            }
        }
        last
    }

    /// Removes what nobody wants of the elements from a place on. Returns where to go on.
    pub(super) fn remove_unknown(
        &mut self,
        place: u32,
        found: &mut Found,
    ) -> io::Result<Option<u32>> {
        let Part { elements, next } = self.backing.frontends_from(place)?;
        for (key, _) in elements {
            if self.elements().value(&key).is_none() {
                self.backing.remove_frontend(&key)?;
                found.add(FRONTENDS, 1);
            }
        }
        Ok(next)
    }

    pub(super) fn prune_copies(&mut self, place: u32, found: &mut Found) -> Option<u32> {
        let elements = Elements {
            frontends: &self.frontends,
            guards: &self.guards,
        };
        let (copies, next) = self.backing.prune_copies(place, &elements);
        add_copies(copies, found);
        next
    }

    const fn elements(&self) -> Elements<'_> {
        Elements {
            frontends: &self.frontends,
            guards: &self.guards,
        }
    }
}

/// One element, and what is kept beside it.
pub fn check(
    backing: &mut impl Backing,
    key: &FrontendKey,
    value: &FrontendValue,
    found: &mut Found,
) {
    let is_there = found.note(backing.frontend(key));
    if is_there.is_some_and(|there| there.as_ref() != Some(value)) {
        let put = backing.put_frontend(key, value);
        if found.note(put).is_some() {
            found.add(FRONTENDS, 1);
        }
    }
    add_copies(backing.mend_copies(key, value), found);
}

fn add_copies(copies: Copies, found: &mut Found) {
    found.add("FILTER", copies.filter);
    found.add("NEAR_FRONTENDS", copies.near);
}
