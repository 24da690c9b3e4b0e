//! Which backend a new connection gets. An algorithm is: how the agent fills a view's slots, and an arm here.

use aya_ebpf::helpers::generated::bpf_get_prandom_u32;
use aya_ebpf::programs::SockAddrContext;
use lb_common::view::{algorithm, home, is_own, own_cell_index, slot_of};
use lb_common::{Backend, SlotRun, View};

use crate::{atomic, ctx, maps};

/// How often to pick again when a backend turns out to be another service port's: tables in motion.
const TRIES: usize = 3;

/// A backend and its place in BACKENDS.
pub struct Picked {
    pub id: u32,
    pub backend: *mut Backend,
}

/// Has memory bring the lines of the backends that a view most likely has while its own is still on the way: the two would
/// come one after the other otherwise.
///
/// `index`: the view's in VIEWS.
#[inline(always)]
pub fn read_ahead(index: u32) {
    for id in home(index) {
        if let Some(backend) = maps::BACKENDS.get_ptr(id) {
            // SAFETY: a value of BACKENDS.
            unsafe { atomic::load(&raw const (*backend).state) };
        }
    }
}

/// Picks a backend; none when the view has none.
///
/// `index`: the view's in VIEWS.
#[inline(always)]
pub fn pick(ctx: &SockAddrContext, index: u32, view: &View) -> Option<Picked> {
    for _ in 0..TRIES {
        // SAFETY: a word of VIEWS.
        let run = SlotRun::from_word(unsafe { atomic::load(&raw const view.slots) });
        if run.length == 0 {
            return None;
        }
        let slot = match view.algorithm {
            algorithm::LEAST_CONN => less_loaded(view, run)?,
            algorithm::MAGLEV => scale(client_hash(ctx, view), run.length),
            algorithm::ROUND_ROBIN => next(index, run.length),
            _ => scale(random(), run.length),
        };
        let picked = backend_of(view, run, slot)?;
        // SAFETY: a value of BACKENDS.
        if unsafe { (*picked.backend).service_port } == view.service_port {
            return Some(picked);
        }
    }
    None
}

/// The backend of an id that was noted for a view, if it still is one of the service port's and has one of these bits of
/// [`lb_common::backend::state`].
#[inline(always)]
pub fn noted(id: u32, view: &View, state: u64) -> Option<Picked> {
    let backend = maps::BACKENDS.get_ptr_mut(id)?;
    // SAFETY: a value of BACKENDS.
    let is_usable =
        unsafe { (*backend).service_port == view.service_port && (*backend).state & state != 0 };
    is_usable.then_some(Picked { id, backend })
}

#[inline(always)]
fn backend_of(view: &View, run: SlotRun, slot: u32) -> Option<Picked> {
    let number = run.cell(slot);
    let cell = if is_own(number) {
        // SAFETY: below the number of a view's own cells.
        unsafe {
            let cells = (&raw const view.cells).cast::<u64>();
            cells.add(own_cell_index(number))
        }
    } else {
        maps::SLOTS.get_ptr(number)?
    };
    // SAFETY: a cell of the view or of SLOTS.
    let id = slot_of(unsafe { atomic::load(cell) }, slot);
    let backend = maps::BACKENDS.get_ptr_mut(id)?;
    Some(Picked { id, backend })
}

/// The better of two slots: the power of two choices. Both from one random number, of which they use other bits.
#[inline(always)]
fn less_loaded(view: &View, run: SlotRun) -> Option<u32> {
    let number = random();
    let first = scale(number, run.length);
    let step = scale(number.wrapping_mul(ODD), run.length - 1);
    let second = (first + 1 + step).checked_rem(run.length)?;
    let active = |slot| {
        let picked = backend_of(view, run, slot)?;
        // SAFETY: a value of BACKENDS.
        Some(unsafe { atomic::load(&raw const (*picked.backend).active) })
    };
    Some(if active(second)? < active(first)? {
        second
    } else {
        first
    })
}

/// Counts a view's connections.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "it wraps")]
fn next(index: u32, length: u32) -> u32 {
    let Some(round) = maps::ROUNDS.get_ptr_mut(index) else {
        return 0;
    };
    // SAFETY: the look-up gave a word.
    let round = unsafe { atomic::fetch_add(round, 1) } as u32;
    round.checked_rem(length).unwrap_or(0)
}

/// 2³² divided by the golden ratio, rounded to an odd number: spreads neighbours as far apart as can be.
const ODD: u32 = 0x9e37_79b9;

/// The same for the same client of a service port. Cookies come in sequence.
#[inline(always)]
fn client_hash(ctx: &SockAddrContext, view: &View) -> u32 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let mixed =
        (ctx::network_namespace(ctx) ^ u64::from(view.service_port) << 32).wrapping_mul(ODD);
    (mixed >> 32) as u32
}

/// A uniform number below `length` from a uniform one: the upper half of a product, which needs no division.
#[inline(always)]
fn scale(number: u32, length: u32) -> u32 {
    ((u64::from(number) * u64::from(length)) >> 32) as u32
}

#[inline(always)]
fn random() -> u32 {
    // SAFETY: the helper takes nothing.
    unsafe { bpf_get_prandom_u32() }
}
