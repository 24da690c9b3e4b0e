//! Tables that an earlier agent left: what has to be stored before they are used.

use std::collections::BTreeMap;

use lb_common::FrontendKey;

use super::super::model::{Found, HeldFrontend, Model};
use super::super::role::Role;
use super::rows;
use super::step::{Plan, Step};

/// Removes what makes no sense there, first of all, since the ids that it names are free. Then takes back half moves.
#[must_use]
pub fn clear_found(found: &Found) -> Plan {
    let strays = found.strays.iter().copied().map(Step::Remove);
    let unowned = found.unowned.iter().map(|&id| rows::backend_state(id, 0));
    let ranges = found.unowned_ranges.iter().copied();
    let mut plan: Plan = strays
        .chain(unowned)
        .chain(ranges.map(Step::RemoveSourceRange))
        .collect();
    for (key, held) in half_moved(&found.model) {
        plan.extend(rows::frontend(&key, &held));
        plan.push(Step::PutFrontend(key, held));
    }
    plan
}

/// Frontends that were moving to another service port: the view for packets from outside is already that one's, the other view
/// is not. They get the outside view of the service port that they were leaving; none if it is lost. Otherwise these packets
/// would reach whatever comes to be in the other's view, by then perhaps a third Service's.
fn half_moved(model: &Model) -> BTreeMap<FrontendKey, HeldFrontend> {
    let moved_back = |(key, held): (&FrontendKey, &HeldFrontend)| {
        let owner = model.ports.get(&held.owner)?;
        if held.outside_view == 0 || owner.view_at(held.outside_view).is_some() {
            return None;
        }
        let outside_view = owner.view(Role::Outside).map_or(0, |view| view.index);
        let held = HeldFrontend {
            outside_view,
            ..*held
        };
        Some((*key, held))
    };
    model.frontends.iter().filter_map(moved_back).collect()
}
