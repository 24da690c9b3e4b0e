//! Transfers what the programs counted in the old tables after the copy.

use std::sync::atomic::Ordering;

use lb_common::Backend;

use super::layout::{COUNTERS, Layout};
use crate::kernel::maps::mapped::Mapped;
use crate::kernel::node::error::KernelError;
use crate::kernel::pins::table_set::{COPIED, TableSet};

/// Adds the difference to the new counters, while programs count there. No program of the old set may be running any
/// more.
///
/// An interrupted run can be resumed: COPIED contains the part of each counter that has been added. Noting that part
/// and adding it are two stores. If an agent is killed between the two, the difference of that one counter is lost:
/// `active` may then be wrong for that backend for as long as its id is in use.
pub fn settle(from: (&TableSet, &Layout), to: (&TableSet, &Layout)) -> Result<(), KernelError> {
    let [old, copied, new] = [
        from.0.folder.join("BACKENDS"),
        to.0.folder.join(COPIED),
        to.0.folder.join("BACKENDS"),
    ];
    // The sets share the map, or the rest of an old set has been transferred already.
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
