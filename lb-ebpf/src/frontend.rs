//! From a destination to the view that serves it.

use lb_common::{FrontendKey, FrontendValue};

use crate::{atomic, maps};

/// What FRONTENDS says of a destination.
pub struct Found {
    pub view: u32,
    pub frontend: u32,
}

/// Looks a destination up.
///
/// An element may become another key's while it is read; its tags then differ, and the second look-up
/// finds what is true now.
#[inline(always)]
pub fn find(key: &FrontendKey) -> Option<Found> {
    for _ in 0..2 {
        let value = maps::FRONTENDS.get_ptr(key)?.cast::<u64>();
        // SAFETY: the look-up gave a value of two words.
        let value =
            unsafe { FrontendValue::from_words(atomic::load(value), atomic::load(value.add(1))) };
        if let Some((view, frontend)) = value.read(key.tag()) {
            return Some(Found { view, frontend });
        }
    }
    None
}
