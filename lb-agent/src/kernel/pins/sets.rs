//! The sets of tables in the pin folder, and which of them the hooks use.
//!
//! An agent works with the set `tables-v1`, named after the version of its layouts. The set `tables-v1-next` is being
//! filled from another one, or the hooks were being moved to it when an agent ended. The programs for that set are
//! pinned beside its maps, so the links show whether any hook uses it: the kernel reports a link's program by its id.
//! (It reports the maps of an unpinned program only to a process with CAP_SYS_ADMIN.)

use std::os::fd::AsFd as _;

use lb_common::TABLES_VERSION;

use super::folder::Pins;
use super::folders::{list, remove_empty};
use super::table_set::{TableSet, refuse_newer};
use crate::kernel::bpf::sys;
use crate::kernel::node::error::KernelError;

/// The existing sets, each filled from the one before it; the last one is current. Removes an unfinished set that no
/// hook uses yet.
///
/// Errors: a newer agent made one of the sets.
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
    // The source of a set that hooks use still counts. A set without a source is complete.
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
