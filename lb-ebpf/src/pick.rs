//! Which backend a new connection gets. An algorithm is: how the agent fills a view's slots, and an arm here.

use aya_ebpf::helpers::generated::bpf_get_prandom_u32;
use lb_common::view::slot_of;
use lb_common::{Backend, SlotRun, View};

use crate::{atomic, maps};

/// How often to pick again when a backend turns out to be another service port's: tables in motion.
const TRIES: usize = 3;

/// A backend and its place in BACKENDS.
pub struct Picked {
    pub id: u32,
    pub backend: *mut Backend,
}

/// Picks a backend; none when the view has none.
#[inline(always)]
pub fn pick(view: &View) -> Option<Picked> {
    for _ in 0..TRIES {
        // SAFETY: a word of VIEWS.
        let run = SlotRun::from_word(unsafe { atomic::load(&raw const view.slots) });
        if run.length == 0 {
            return None;
        }
        let slot = random(run.length);
        let cell = maps::SLOTS.get_ptr(run.cell(slot))?;
        // SAFETY: the look-up gave a word.
        let id = slot_of(unsafe { atomic::load(cell) }, slot);
        let backend = maps::BACKENDS.get_ptr_mut(id)?;
        // SAFETY: the look-up gave a backend.
        if unsafe { (*backend).service_port } == view.service_port {
            return Some(Picked { id, backend });
        }
    }
    None
}

/// A uniform slot: the upper half of a product, which needs no division.
#[inline(always)]
fn random(length: u32) -> u32 {
    // SAFETY: the helper takes nothing.
    let number = unsafe { bpf_get_prandom_u32() };
    ((u64::from(number) * u64::from(length)) >> 32) as u32
}
