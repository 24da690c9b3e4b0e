//! Everything new of a service port. Nothing is removed yet.
//!
//! A frontend that moves to a view of its own must not see the shared view's next choice before it has moved, nor one that
//! moves to a shared view its last choice after: hence new views come first.
//!
//! The next agent recognizes a service port by its ClusterIP, so no frontend comes before that one if both are new.

use lb_common::FrontendKey;
use lb_common::config::NEXT_SERVICE_PORT;

use super::super::model::{HeldBackend, HeldFrontend, HeldPort, HeldView, Model, find_backend};
use super::super::role::Role;
use super::assign::{WantedPort, WantedView};
use super::rows::{self, config_word};
use super::step::{Plan, Record, Step};
use crate::policy::ServicePort;

pub fn add(model: &Model, port: &ServicePort, target: &WantedPort, plan: &mut Plan) {
    let id = target.id;
    let empty = HeldPort::default();
    let held = model.ports.get(&id).unwrap_or(&empty);
    let protocol = super::super::encode::protocol(port.key.protocol);
    if !model.ids.contains_key(&port.key) {
        plan.extend(config_word(
            model,
            NEXT_SERVICE_PORT,
            u64::from(id.wrapping_add(1)),
        ));
    }
    if !model.ids.contains_key(&port.key) || held.protocol != protocol {
        plan.push(Step::Record(Record::Port {
            key: port.key.clone(),
            id,
            protocol,
        }));
    }
    add_nat(model, held, target, plan);
    add_backends(held, target, plan);
    let new_ranges = target.source_ranges.difference(&held.source_ranges);
    plan.extend(new_ranges.copied().map(Step::PutSourceRange));
    let (outside, mut views): (Vec<_>, Vec<_>) = target
        .views
        .iter()
        .partition(|view| view.held.role == Role::Outside);
    views.sort_by_key(|view| view.held.role != Role::Internal);
    // The frontends' entries name it.
    for view in outside {
        add_view(held, id, view, plan);
    }
    for is_new in [true, false] {
        for view in &views {
            if held.view_at(view.held.index).is_none() == is_new {
                add_view(held, id, view, plan);
                add_frontends(model, view.held.index, target, plan);
            }
        }
    }
}

/// A backend is in the NAT maps before any view names it.
fn add_nat(model: &Model, held: &HeldPort, target: &WantedPort, plan: &mut Plan) {
    if !model.has_nat {
        return;
    }
    let is_new = |backend: &&HeldBackend| find_backend(&held.backends, backend.address).is_none();
    let new = target.backends.iter().filter(is_new);
    let elements: Vec<_> = new.map(|backend| (backend.id, backend.address)).collect();
    if !elements.is_empty() {
        plan.push(Step::PutNat(elements));
    }
}

/// New backends whole, into ids that no slot names. Those that stay have the bits that they had and those that they should
/// have, until the views are switched. Their new weights are in effect at once: until then they only shift shares.
fn add_backends(held: &HeldPort, target: &WantedPort, plan: &mut Plan) {
    let mut backends = Vec::with_capacity(target.backends.len());
    for backend in &target.backends {
        let before = find_backend(&held.backends, backend.address);
        let state = match before {
            None => {
                plan.extend(rows::backend(target.id, backend));
                backend.state
            }
            Some(before) => {
                if before.weight != backend.weight {
                    plan.extend(rows::backend_weight(target.id, backend));
                }
                let state = before.state | backend.state;
                if state != before.state {
                    plan.push(rows::backend_state(backend.id, state));
                }
                state
            }
        };
        backends.push(HeldBackend { state, ..*backend });
    }
    let stays = |held: &&HeldBackend| {
        find_backend(&target.backends, held.address).is_some_and(|stays| stays.id == held.id)
    };
    // Behind the one with the same address that slots name: the sort is stable.
    backends.extend(held.backends.iter().filter(|held| !stays(held)));
    backends.sort_by_key(|backend| backend.address);
    if backends != held.backends {
        plan.push(Step::Record(Record::Backends {
            port: target.id,
            backends,
        }));
    }
}

/// The slots into a free run, then one store that makes the run the view's.
pub fn add_view(held: &HeldPort, port: u32, view: &WantedView, plan: &mut Plan) {
    let before = held.view_at(view.held.index);
    if before == Some(&view.held) {
        return;
    }
    let head = |view: &HeldView| {
        (
            view.algorithm,
            view.affinity_seconds,
            view.member,
            view.flags,
        )
    };
    if before.is_none_or(|before| head(before) != head(&view.held)) {
        plan.extend(rows::view(port, &view.held));
    }
    if let Some(slots) = &view.slots {
        plan.extend(rows::run(view.held.run, slots));
        plan.push(rows::slots(view.held.index, view.held.run));
    }
    let view = view.held;
    plan.push(Step::Record(Record::View { port, view }));
}

/// The frontends of a view, which is whole by now: the ClusterIP first.
fn add_frontends(model: &Model, view: u32, target: &WantedPort, plan: &mut Plan) {
    for is_first in [true, false] {
        for (key, frontend) in &target.frontends {
            if frontend.view == view && frontend.is_cluster_ip() == is_first {
                add_frontend(model, key, frontend, plan);
            }
        }
    }
}

fn add_frontend(model: &Model, key: &FrontendKey, frontend: &HeldFrontend, plan: &mut Plan) {
    let before = model.frontends.get(key);
    if before == Some(frontend) {
        return;
    }
    let entry = |held: &HeldFrontend| (held.kind, held.outside_view);
    if before.is_none_or(|before| entry(before) != entry(frontend)) {
        plan.extend(rows::frontend(key, frontend));
    }
    plan.push(Step::PutFrontend(*key, *frontend));
}
