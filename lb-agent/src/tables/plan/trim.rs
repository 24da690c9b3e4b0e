//! Removals: after everything new is in place.

use std::collections::BTreeSet;

use lb_common::FrontendKey;

use super::super::backing::SourcePrefix;
use super::super::encode::{self, frontend_keys};
use super::super::model::{HeldBackend, Model};
use super::rows;
use super::step::{Plan, Record, Step};
use crate::policy::{Backend, ServicePort};

/// Removes the frontends of a service port that are not among these. The ClusterIP goes last: the next agent recognizes the
/// service port by it.
pub fn remove_frontends(model: &Model, port: u32, kept: &BTreeSet<FrontendKey>, plan: &mut Plan) {
    let Some(held) = model.ports.get(&port) else {
        return;
    };
    let goes = held.frontends.iter().filter(|key| !kept.contains(key));
    let is_cluster_ip =
        |key: &&FrontendKey| model.frontends.get(key).is_some_and(|f| f.is_cluster_ip());
    let (last, first): (Vec<_>, Vec<_>) = goes.partition(is_cluster_ip);
    plan.extend(first.into_iter().chain(last).copied().map(Step::Remove));
}

/// Removes the source ranges of a service port that are not among these.
fn remove_source_ranges(model: &Model, port: u32, kept: &BTreeSet<SourcePrefix>, plan: &mut Plan) {
    if let Some(held) = model.ports.get(&port) {
        let goes = held.source_ranges.difference(kept);
        plan.extend(goes.copied().map(Step::RemoveSourceRange));
    }
}

/// Removes whatever a service port no longer needs.
pub fn trim(model: &Model, port: &ServicePort, plan: &mut Plan) {
    let Some(&id) = model.ids.get(&port.key) else {
        return;
    };
    remove_frontends(model, id, &frontend_keys(port).collect(), plan);
    remove_source_ranges(model, id, &encode::source_ranges(id, port), plan);
    plan.push(Step::Record(Record::RetireUnnamedViews { port: id }));
    trim_backends(model, id, &port.backends, plan);
}

/// Removes a service port that has no frontends any more.
pub fn remove(model: &Model, port: u32, plan: &mut Plan) {
    remove_source_ranges(model, port, &BTreeSet::new(), plan);
    plan.push(Step::Record(Record::RetireUnnamedViews { port }));
    trim_backends(model, port, &[], plan);
    plan.push(Step::Record(Record::Forget { port }));
}

/// Those that stay have the bits that they should have, those that go have none.
fn trim_backends(model: &Model, port: u32, wanted: &[Backend], plan: &mut Plan) {
    let Some(held) = model.ports.get(&port) else {
        return;
    };
    let mut last = None;
    let mut kept = Vec::with_capacity(wanted.len());
    for backend in &held.backends {
        let is_repeated = last == Some(backend.address);
        last = Some(backend.address);
        let state = match is_repeated {
            true => 0,
            false => wanted_state(wanted, backend),
        };
        if state != backend.state {
            plan.push(rows::backend_state(backend.id, state));
        }
        if state == 0 {
            let id = backend.id;
            plan.push(Step::Record(Record::RetireBackend { port, id }));
        } else {
            kept.push(HeldBackend { state, ..*backend });
        }
    }
    if kept != held.backends {
        let backends = kept;
        plan.push(Step::Record(Record::Backends { port, backends }));
    }
}

/// The bits that a backend should have; none for one that should go.
fn wanted_state(wanted: &[Backend], held: &HeldBackend) -> u64 {
    wanted
        .binary_search_by_key(&held.address, |backend| backend.address)
        .ok()
        .and_then(|found| wanted.get(found))
        .map_or(0, encode::backend_state)
}
