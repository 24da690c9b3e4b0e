//! The slots of a view.

use lb_common::view::algorithm::MAGLEV;

use super::super::model::HeldBackend;
use super::maglev;

/// The backend ids in a view's slots.
///
/// `algorithm`: one of [`lb_common::view::algorithm`]. `backends`: the view's, sorted by address. `length`: how many slots it
/// has now.
pub fn slots(algorithm: u32, backends: &[&HeldBackend], length: u32) -> Vec<u32> {
    if algorithm == MAGLEV {
        return maglev::slots(backends, length);
    }
    let mut slots = Vec::with_capacity(backends.len());
    for backend in backends {
        let weight = usize::from(backend.weight.max(1));
        slots.extend(std::iter::repeat_n(backend.id, weight));
    }
    slots
}
