//! Finds the frontend that a destination belongs to.
//!
//! FILTER sorts out most misses. NEAR_FRONTENDS contains most IPv4 frontends, FRONTENDS contains all.

use aya_ebpf::programs::SockAddrContext;
use lb_common::frontend::filter;
use lb_common::near::{FRONTENDS_PER_LINE, NearFrontend, NearLine};
use lb_common::{FrontendKey, FrontendValue, Target};

use crate::atomic::Word;
use crate::{client, config, maps};

/// The frontend with this key, for a socket. None on a miss, if this client is not served or may not use the frontend, and if
/// the programs fail open.
#[inline(always)]
pub fn find_for(ctx: &SockAddrContext, key: &FrontendKey) -> Option<Target> {
    let target = find(key)?;
    let is_for_host = target.is_host_only && !config::is_host(ctx);
    (!is_for_host && !target.has_source_ranges && client::is_served(ctx)).then_some(target)
}

/// The frontend with this key. None on a miss, and if the programs fail open.
#[inline(always)]
pub fn find(key: &FrontendKey) -> Option<Target> {
    if !may_exist(key) {
        return None;
    }
    let target = match find_near(key) {
        Some(target) => target,
        None => find_in_hash(key)?,
    };
    (!config::fails_open()).then_some(target)
}

/// Whether FRONTENDS may contain the key, by FILTER.
#[inline(always)]
fn may_exist(key: &FrontendKey) -> bool {
    let (index, bit) = filter::word_and_bit(key.tag());
    maps::word(&maps::FILTER, index).is_some_and(|word| word.load() & bit != 0)
}

/// The key's target in NEAR_FRONTENDS.
#[inline(always)]
fn find_near(key: &FrontendKey) -> Option<Target> {
    let key_word = NearFrontend::key_word(key)?;
    let line = maps::NEAR_FRONTENDS.get_ptr_mut(NearLine::index(key.tag()))?;
    let frontends = line.cast::<NearFrontend>();
    for index in 0..FRONTENDS_PER_LINE {
        // SAFETY: the look-up gave a line, and `index` is below the number of frontends in it.
        let (key_in_line, value) = unsafe {
            let frontend = frontends.add(index);
            (
                Word::new(&raw mut (*frontend).key),
                Word::new(&raw mut (*frontend).value),
            )
        };
        if key_in_line.load() == key_word {
            return NearFrontend::target(value.load(), key.tag());
        }
    }
    None
}

/// The key's target in FRONTENDS. The kernel may give the element to another key while it is read. Then its tags
/// differ, and the second look-up finds the current element.
#[inline(always)]
fn find_in_hash(key: &FrontendKey) -> Option<Target> {
    for _ in 0..2 {
        if let Some(target) = Element::look_up(key)?.read(key) {
            return Some(target);
        }
    }
    None
}

/// An element of FRONTENDS.
pub struct Element(*mut FrontendValue);

impl Element {
    /// The key's element. Reads FILTER first, which is cheaper on a miss.
    #[inline(always)]
    pub fn find(key: &FrontendKey) -> Option<Self> {
        if !may_exist(key) {
            return None;
        }
        Self::look_up(key)
    }

    /// Passes a copy of the key to the kernel, so that the key itself stays in registers on the paths without a
    /// look-up.
    #[inline(always)]
    fn look_up(key: &FrontendKey) -> Option<Self> {
        maps::FRONTENDS.get_ptr_mut(*key).map(Self)
    }

    /// Its target; none if the element is another key's by now.
    #[inline(always)]
    pub fn read(&self, key: &FrontendKey) -> Option<Target> {
        let words = self.0.cast::<u64>();
        // SAFETY: `look_up` gave the value, which has two words.
        let (view, frontend) = unsafe { (Word::new(words), Word::new(words.add(1))) };
        FrontendValue::from_words(view.load(), frontend.load()).read(key.tag())
    }
}
