//! FRONTENDS and what is kept beside it: each element that should exist, and none that should not.

use std::collections::BTreeSet;
use std::io;
use std::ops::Bound::{Excluded, Unbounded};

use lb_common::{Address, FrontendKey, FrontendValue};

use super::super::backing::{Backing, Copies, Elements as _, Part, SourcePrefix};
use super::super::model::{Model, guard_key, guard_value};
use super::super::plan::{Plan, Step};
use super::super::write::write;
use super::report::Findings;

/// The elements of a service port's frontends.
pub fn check_frontends(
    id: u32,
    model: &mut Model,
    backing: &mut impl Backing,
    findings: &mut Findings,
) {
    let keys = model.ports.get(&id).map(|port| port.frontends.clone());
    for key in keys.into_iter().flatten() {
        if let Some(held) = model.frontends.get(&key).copied() {
            let put = Step::PutFrontend(key, held);
            check(&key, &held.value(&key), put, model, backing, findings);
        }
    }
}

/// The guards of so many addresses after this one. Returns the last; none: there are no more.
pub fn check_guards(
    after: Option<Address>,
    number: usize,
    model: &mut Model,
    backing: &mut impl Backing,
    findings: &mut Findings,
) -> Option<Address> {
    let from = after.map_or(Unbounded, Excluded);
    let guards = model.guards.in_place.range((from, Unbounded));
    let guards: Vec<(Address, u32)> = guards.take(number).map(|(a, v)| (*a, *v)).collect();
    for &(address, verdict) in &guards {
        // One that is about to change is checked next time.
        if !model.guards.changed.contains(&address) {
            let (key, value) = (guard_key(address), guard_value(address, verdict));
            let put = Step::PutGuard(address, verdict);
            check(&key, &value, put, model, backing, findings);
        }
    }
    guards.last().map(|(address, _)| *address)
}

/// Removes those elements from a position on that should not exist. Returns the next position.
pub fn remove_unknown(
    position: u32,
    model: &mut Model,
    backing: &mut impl Backing,
    findings: &mut Findings,
) -> io::Result<Option<u32>> {
    let Part { elements, next } = backing.frontends_from(position)?;
    let keys = elements.into_iter().map(|(key, _)| key);
    let unknown = keys.filter(|key| model.value(key).is_none());
    let plan: Plan = unknown.map(Step::Remove).collect();
    repair(plan, model, backing, findings);
    Ok(next)
}

pub fn prune_copies(
    position: u32,
    model: &Model,
    backing: &mut impl Backing,
    findings: &mut Findings,
) -> Option<u32> {
    let (copies, next) = backing.prune_copies(position, model);
    add_copies(copies, findings);
    next
}

/// All elements of SOURCE_RANGES. There are few.
pub fn check_source_ranges(model: &mut Model, backing: &mut impl Backing, findings: &mut Findings) {
    let Some(found) = findings.note(backing.source_ranges()) else {
        return;
    };
    let found: BTreeSet<SourcePrefix> = found.into_iter().collect();
    let of_ports = model.ports.values().flat_map(|port| &port.source_ranges);
    let wanted: BTreeSet<SourcePrefix> = of_ports.copied().collect();
    let missing = wanted.difference(&found).copied().map(Step::PutSourceRange);
    let unknown = found.difference(&wanted).copied();
    let plan: Plan = missing
        .chain(unknown.map(Step::RemoveSourceRange))
        .collect();
    repair(plan, model, backing, findings);
}

/// One element, and what is kept beside it.
fn check(
    key: &FrontendKey,
    value: &FrontendValue,
    put: Step,
    model: &mut Model,
    backing: &mut impl Backing,
    findings: &mut Findings,
) {
    let there = findings.note(backing.frontend(key));
    if there.is_some_and(|there| there.as_ref() != Some(value)) {
        repair(vec![put], model, backing, findings);
    }
    add_copies(backing.repair_copies(key, value), findings);
}

/// Writes a plan of which each step repairs an element.
fn repair(plan: Plan, model: &mut Model, backing: &mut impl Backing, findings: &mut Findings) {
    for step in plan {
        let table = step.table().unwrap_or_default();
        let written = write(backing, model, step);
        if findings.note(written).is_some() {
            findings.add(table, 1);
        }
    }
}

fn add_copies(copies: Copies, findings: &mut Findings) {
    findings.add("FILTER", copies.filter);
    findings.add("NEAR_FRONTENDS", copies.near);
}
