//! Applies an update step by step, with a callback in between.

use crate::tables::plan::Rollout;
use crate::tables::roll_out::roll_out;
use crate::tables::testing::{Memory, State};
use crate::tables::{Backing as _, ReadTables as _, Refused, Tables, model, plan, write};

/// Executes all steps of [`Tables::recover`]. `between`: called after each store.
pub fn recover_stepwise(
    mut backing: Memory,
    between: &mut dyn FnMut(&mut State),
) -> Tables<Memory> {
    let found = model::read(&backing).expect("memory can be read");
    let mut steps = plan::clear_found(&found);
    let mut model = found.model;
    model.has_nat = backing.has_nat();
    plan::prefixes(&model, &mut steps);
    for step in steps.drain(..) {
        write::write(&mut backing, &mut model, step).expect("memory takes it");
        between(&mut backing.state);
    }
    let nat = backing.nat().expect("memory can be read");
    if let Some(nat) = nat {
        plan::repair_nat(&model, &nat, &mut steps);
    }
    for step in steps.drain(..) {
        write::write(&mut backing, &mut model, step).expect("memory takes it");
        between(&mut backing.state);
    }
    Tables {
        backing,
        model,
        plan: steps,
    }
}

/// Executes all steps of a rollout, like [`Tables::apply`] and [`Tables::settle`]. `between`: called after each store; it may
/// act as the kernel programs do.
pub fn stepwise(
    tables: &mut Tables<Memory>,
    rollout: Rollout,
    between: &mut dyn FnMut(&mut State),
) -> Vec<Refused> {
    let between = |memory: &mut Memory| between(&mut memory.state);
    let plan = &mut tables.plan;
    roll_out(
        &mut tables.backing,
        &mut tables.model,
        rollout,
        plan,
        between,
    )
}
