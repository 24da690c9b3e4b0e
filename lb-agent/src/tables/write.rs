//! Does the steps of a plan, and keeps the model true to what was stored.

use std::io;

use lb_common::{Backend, FrontendKey};

use super::backing::{Backing, Table};
use super::model::{Item, Model, guard_key, guard_value};
use super::plan::{ApplyError, Plan, Record, Step};

/// Does all steps. Those that fail are left out, with what would have followed from them in the model. Returns the last
/// error.
///
/// `between`: called after each store.
pub fn write_all<B: Backing>(
    backing: &mut B,
    model: &mut Model,
    plan: &mut Plan,
    between: &mut impl FnMut(&mut B),
) -> Result<(), ApplyError> {
    let mut result = Ok(());
    for step in plan.drain(..) {
        let is_store = !matches!(step, Step::Record(_));
        if let Err(error) = write(backing, model, step) {
            result = Err(ApplyError::Frontends(error));
        }
        if is_store {
            between(backing);
        }
    }
    result
}

/// Does one step. Errors: FRONTENDS cannot be written.
pub fn write(backing: &mut impl Backing, model: &mut Model, step: Step) -> io::Result<()> {
    match step {
        Step::Store {
            table,
            index,
            word,
            value,
        } => {
            backing.store(table, index, word, value);
            if table == Table::Config
                && let Some(held) = model.config.get_mut(index as usize)
            {
                *held = value;
            }
        }
        Step::PutFrontend(key, held) => {
            if let Err(error) = backing.put_frontend(&key, &held.value(&key)) {
                if !model.frontends.contains_key(&key) {
                    model.free.release(Item::Frontend(held.id));
                }
                return Err(error);
            }
            model.put_frontend(key, held);
        }
        Step::PutGuard(address, verdict) => {
            backing.put_frontend(&guard_key(address), &guard_value(address, verdict))?;
            model.guards.in_place.insert(address, verdict);
        }
        Step::Remove(key) => remove(backing, model, &key)?,
        Step::PutSourceRange(prefix) => {
            backing.put_source_range(&prefix)?;
            let port = model.ports.entry(prefix.service_port()).or_default();
            port.source_ranges.insert(prefix);
        }
        Step::RemoveSourceRange(prefix) => {
            backing.remove_source_range(&prefix)?;
            if let Some(port) = model.ports.get_mut(&prefix.service_port()) {
                port.source_ranges.remove(&prefix);
            }
        }
        // Sockets do not need the NAT maps, so the rest of the plan goes on.
        Step::PutNat(elements) => {
            let put = backing.put_nat(&elements);
            note_nat(model, put);
        }
        Step::RemoveNat(ids) => {
            let removed = backing.remove_nat(&ids);
            note_nat(model, removed);
        }
        Step::Record(record) => {
            if let Record::RetireBackend { port, id } = record {
                let connections = backing.load(Table::Backends, id, Backend::CONNECTIONS_WORD);
                let ended = model.ended.entry(port).or_default();
                *ended = ended.wrapping_add(connections);
            }
            note(model, record);
        }
    }
    Ok(())
}

fn remove(backing: &mut impl Backing, model: &mut Model, key: &FrontendKey) -> io::Result<()> {
    backing.remove_frontend(key)?;
    // A stray element may have a key that only looks like a guard's.
    if *key == guard_key(key.address) {
        model.guards.in_place.remove(&key.address);
    } else {
        model.remove_frontend(key);
    }
    Ok(())
}

/// A failed store is repaired by the next comparison.
fn note_nat(model: &mut Model, result: io::Result<()>) {
    model.nat_stores += 1;
    if let Err(error) = result {
        if !model.is_nat_stale {
            tracing::error!(
                event = "tables.nat_not_written",
                %error,
                "cannot change the NAT maps: packets to new backends get no answer until they are repaired",
            );
        }
        model.is_nat_stale = true;
    }
}

fn note(model: &mut Model, record: Record) {
    match record {
        Record::Port { key, id, protocol } => {
            model.ids.insert(key, id);
            model.ports.entry(id).or_default().protocol = protocol;
        }
        Record::Backends { port, mut backends } => {
            backends.shrink_to_fit();
            model.ports.entry(port).or_default().backends = backends;
        }
        Record::View { port, view } => model.set_view(port, view),
        Record::RetireUnnamedViews { port } => {
            model.retire_unnamed_views(port);
            if let Some(held) = model.ports.get_mut(&port) {
                held.shrink();
            }
        }
        Record::RetireBackend { port, id } => {
            let protocol = model.ports.get(&port).map(|held| held.protocol);
            model.count_stop(protocol.unwrap_or_default());
            model.quarantine.add(Item::Backend(id));
        }
        Record::Forget { port } => {
            model.ports.remove(&port);
            model.ended.remove(&port);
        }
    }
}
