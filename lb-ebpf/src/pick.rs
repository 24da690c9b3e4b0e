//! Which backend a new connection gets. An algorithm consists of the agent's rule for filling a view's slots, and an
//! arm of [`pick`].

use aya_ebpf::helpers::generated::bpf_get_prandom_u32;
use lb_common::view::{algorithm, home, is_own, own_cell_index, slot_of};
use lb_common::{SlotRun, View};

use crate::atomic;
use crate::backend::BackendLine;
use crate::ctx::Client;
use crate::{maps, outlier};

/// Number of attempts to pick a backend that is one of the view's service port and is not ejected. While the agent changes
/// tables, a slot may contain an id that is another service port's by now.
const TRIES: u32 = 3;

/// Number of further slots that are searched then, whatever the algorithm.
const MOST_STEPS: u32 = 16;

/// Prefetches the lines of the backends that a view most likely has, while its own line is still on the way. Otherwise
/// the CPU would wait for one after the other.
///
/// `index`: the view's in VIEWS.
#[inline(always)]
pub fn prefetch(index: u32) {
    for id in home(index) {
        if let Some(backend) = BackendLine::look_up(id) {
            backend.prefetch();
        }
    }
}

/// Picks a backend; none if the view has no backend.
///
/// `index`: the view's in VIEWS.
#[inline(always)]
pub fn pick<C: Client>(client: &C, index: u32, view: &View) -> Option<BackendLine> {
    for attempt in 0..TRIES {
        let run = SlotRun::from_word(atomic::load(&view.slots));
        if run.length == 0 {
            return None;
        }
        let slot = match view.algorithm {
            algorithm::LEAST_CONN => less_loaded(view, run)?,
            algorithm::MAGLEV => scale(client_hash(client, view, attempt), run.length),
            algorithm::ROUND_ROBIN => next(index, run.length),
            _ => scale(random(), run.length),
        };
        let backend = backend_of(view, run, slot)?;
        if backend.belongs_to(view) && outlier::admits(backend, C::IS_NOTICED) {
            return Some(backend);
        }
    }
    // Another one that is not ejected. If none is found, one that is: rather that than none.
    let first = if view.algorithm == algorithm::MAGLEV {
        client_hash(client, view, TRIES)
    } else {
        random()
    };
    let id = find_other(index, first);
    (id != 0).then(|| BackendLine::look_up(id))?
}

/// Looks for a backend that is not ejected in slots that are spread over the view. Returns its id; that of an ejected one if no
/// other is found; 0 if the view has none.
///
/// A global function, which the verifier follows once, whatever calls it (Documentation/bpf/verifier.rst). `index`: the view's in VIEWS.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn find_other(index: u32, first: u32) -> u32 {
    let mut ejected = 0;
    let Some(view) = maps::VIEWS.get(index) else {
        return 0;
    };
    let run = SlotRun::from_word(atomic::load(&view.slots));
    for step in 0..MOST_STEPS {
        let slot = scale(first.wrapping_add(step.wrapping_mul(ODD)), run.length);
        if let Some(backend) = backend_of(view, run, slot)
            && backend.belongs_to(view)
        {
            if outlier::is_in(backend) {
                return backend.id;
            }
            ejected = backend.id;
        }
    }
    ejected
}

/// The backend of a stored id, if it still is one of the view's service port and has one of these
/// [`lb_common::backend::state`] bits.
#[inline(always)]
pub fn usable(id: u32, view: &View, state: u64) -> Option<BackendLine> {
    let backend = BackendLine::look_up(id)?.with_state(state)?;
    backend.belongs_to(view).then_some(backend)
}

/// The backend in a slot.
#[inline(always)]
fn backend_of(view: &View, run: SlotRun, slot: u32) -> Option<BackendLine> {
    let number = run.cell(slot);
    let cell = if is_own(number) {
        atomic::load(view.cells.get(own_cell_index(number))?)
    } else {
        maps::word(&maps::SLOTS, number)?.load()
    };
    BackendLine::look_up(slot_of(cell, slot))
}

/// The better of two random slots: the power of two choices. The better one has fewer active connections for its weight. Both
/// slots come from one random number, of which they use different bits.
#[inline(always)]
fn less_loaded(view: &View, run: SlotRun) -> Option<u32> {
    let number = random();
    let first = scale(number, run.length);
    let step = scale(number.wrapping_mul(ODD), run.length - 1);
    let second = (first + 1 + step).checked_rem(run.length)?;
    let load = |slot| {
        let backend = backend_of(view, run, slot)?;
        Some((backend.active(), backend.weight()))
    };
    let (active, weight) = load(first)?;
    let (other_active, other_weight) = load(second)?;
    let is_better = other_active.wrapping_mul(weight) < active.wrapping_mul(other_weight);
    Some(if is_better { second } else { first })
}

/// The slot after the view's last one.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "it wraps")]
fn next(index: u32, length: u32) -> u32 {
    let Some(round) = maps::word(&maps::ROUNDS, index) else {
        return 0;
    };
    let round = round.fetch_add(1) as u32;
    round.checked_rem(length).unwrap_or(0)
}

/// 2³² divided by the golden ratio, rounded to an odd number: multiples of it are spread as evenly as possible.
const ODD: u32 = 0x9e37_79b9;

/// A hash of the client and the service port, another one for each attempt. Cookies of network namespaces come in sequence, so
/// they are mixed.
#[inline(always)]
fn client_hash(client: &impl Client, view: &View, attempt: u32) -> u32 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let mixed = (client.id() ^ u64::from(view.service_port) << 32).wrapping_mul(ODD);
    ((mixed >> 32) as u32).wrapping_add(attempt.wrapping_mul(self::ODD))
}

/// Scales a uniformly distributed number to one below `length`: the upper half of the product, which needs no division.
#[inline(always)]
fn scale(number: u32, length: u32) -> u32 {
    ((u64::from(number) * u64::from(length)) >> 32) as u32
}

#[inline(always)]
fn random() -> u32 {
    // SAFETY: the helper has no arguments.
    unsafe { bpf_get_prandom_u32() }
}
