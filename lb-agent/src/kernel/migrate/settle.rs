//! What the programs counted in the old tables after they were copied.

use std::sync::atomic::Ordering;

use lb_common::Backend;

use super::layout::{COUNTERS, Layout};
use crate::kernel::maps::mapped::Mapped;
use crate::kernel::node::error::KernelError;
use crate::kernel::pins::table_set::{COPIED, TableSet};

/// Adds it to the new counters, while programs count there. No program of the old set may be running any more.
///
/// May be done again where it was left: COPIED says what of a counter has been added. An agent that is killed between
/// noting that and adding it, two stores, one after the other, loses that one counter's difference: `active` may then
/// be off for that backend for as long as its id is in use.
pub fn settle(from: (&TableSet, &Layout), to: (&TableSet, &Layout)) -> Result<(), KernelError> {
    let [old, copied, new] = [
        from.0.folder.join("BACKENDS"),
        to.0.folder.join(COPIED),
        to.0.folder.join("BACKENDS"),
    ];
    // Shared, or what is left of a set from which all was taken over.
    if !copied.exists() || !old.exists() {
        return Ok(());
    }
    let copied = Mapped::at(&copied, COUNTERS)?;
    let (old, new) = (
        Mapped::at(&old, Backend::WORDS)?,
        Mapped::at(&new, Backend::WORDS)?,
    );
    for id in 0..copied.length.min(old.length).min(new.length) {
        for (counter, (from, to)) in from.1.counters.into_iter().zip(to.1.counters).enumerate() {
            let now = old.word(id, from).load(Ordering::Acquire);
            let before = copied.word(id, counter);
            let known = before.load(Ordering::Acquire);
            if now != known {
                before.store(now, Ordering::Release);
                new.word(id, to)
                    .fetch_add(now.wrapping_sub(known), Ordering::AcqRel);
            }
        }
    }
    Ok(())
}
