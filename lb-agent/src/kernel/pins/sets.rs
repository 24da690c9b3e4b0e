//! The sets of tables in the pin folder, and which of them the hooks use.
//!
//! `tables-v1` is the set that an agent works with, named after the version of its layouts. `tables-v1-next` is one that is
//! being filled from another, or that hooks were being moved to when the agent ended. The programs that are to use it are
//! pinned beside its maps, so that the links say whether any hook does: a program's id is asked of the kernel by its link.
//! (Which maps a program uses, it tells only to those with CAP_SYS_ADMIN, for a program that nobody has pinned.)

use std::os::fd::AsFd as _;

use lb_common::TABLES_VERSION;

use super::folder::Pins;
use super::folders::{list, remove_empty};
use super::table_set::{TableSet, refuse_newer};
use crate::kernel::bpf::sys;
use crate::kernel::node::error::KernelError;

/// The sets that are there, each filled from the one before it; the last one goes on. One that was begun and that no hook
/// has come to yet is taken away.
///
/// Errors: a newer agent made one of them.
pub fn found(pins: &Pins) -> Result<Vec<TableSet>, KernelError> {
    let mut sets = Vec::new();
    for set in list(pins.folder())?.into_iter().filter_map(TableSet::at) {
        if list(&set.folder)?.is_empty() {
            remove_empty(&set.folder)?;
        } else {
            sets.push(set);
        }
    }
    sets.sort_by_key(|set| (set.is_next, set.version));
    let hooks = programs_in_hooks(pins)?;
    let mut begun = Vec::new();
    // Of one that hooks have come to, what it was filled from still counts. And one whose source is gone has all that there is.
    while sets.len() > 1
        && let Some(set) = sets.pop_if(|set| set.is_next)
    {
        if set.programs()?.iter().any(|id| hooks.contains(id)) {
            sets.push(set);
            break;
        }
        begun.push(set);
    }
    for set in &sets {
        refuse_newer(&set.folder, pins.folder(), set.version, TABLES_VERSION)?;
    }
    for set in begun {
        tracing::info!(
            event = "migration.discarded",
            path = %set.folder.display(),
            "removing unfinished tables of an earlier agent, which no hook uses",
        );
        set.remove()?;
    }
    Ok(sets)
}

/// The ids of the programs in the pinned links.
fn programs_in_hooks(pins: &Pins) -> Result<Vec<u32>, KernelError> {
    list(&pins.links())?
        .iter()
        .map(|pin| {
            sys::object_at(pin)
                .and_then(|link| Ok(sys::link_info(link.as_fd())?.program))
                .map_err(KernelError::pin("open the pinned link", pin))
        })
        .collect()
}
