//! A service port that does not fit as a whole: its new parts wait, but its removals do not wait for them.

use lb_common::FrontendKey;

use super::super::backing::Table;
use super::super::encode;
use super::super::model::{Model, find_backend};
use super::assign::ApplyError;
use crate::policy::{Algorithm, FULL_WEIGHT, ServicePort};

/// A service port without those new backends or frontends that do not fit: otherwise backends that were removed would
/// be chosen until their replacements fit. Its Maglev table and its weights go first, if that is it. None: the tables have
/// nothing of it.
pub fn reduced(model: &Model, port: &ServicePort, refused: &ApplyError) -> Option<ServicePort> {
    let id = *model.ids.get(&port.key)?;
    let held = model.ports.get(&id)?;
    let mut reduced = port.clone();
    let mut backends = port.backends.iter();
    let is_weighted = backends.any(|of| of.weight > 1 || of.tenths != FULL_WEIGHT);
    match refused {
        // A table takes a hundred slots for each backend.
        ApplyError::Full {
            table: Table::Slots,
            ..
        } if reduced.algorithm == Algorithm::Maglev => reduced.algorithm = Algorithm::Random,
        ApplyError::Full {
            table: Table::Slots,
            ..
        } if is_weighted => {
            for backend in &mut reduced.backends {
                backend.weight = backend.weight.min(1);
                backend.tenths = FULL_WEIGHT;
            }
        }
        ApplyError::Full {
            table: Table::Backends | Table::Slots,
            ..
        } => reduced
            .backends
            .retain(|backend| find_backend(&held.backends, backend.address).is_some()),
        _ => {
            let is_its = |key: FrontendKey| {
                let frontend = model.frontends.get(&key);
                frontend.is_some_and(|frontend| frontend.owner == id)
            };
            reduced.frontends.retain(|frontend| {
                encode::frontend_key(frontend, port.key.protocol).is_some_and(is_its)
            });
        }
    }
    Some(reduced)
}
