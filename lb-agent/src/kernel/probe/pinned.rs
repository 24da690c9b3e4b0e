//! The tables that are pinned, and whether an agent of this build can take them over.

use std::path::Path;

use lb_common::TABLES_VERSION;

use crate::kernel::maps::shapes::{Subfolder, all};
use crate::kernel::maps::sizes::Sizes;
use crate::kernel::migrate::is_readable;
use crate::kernel::node::error::KernelError;
use crate::kernel::pins::folder::length;
use crate::kernel::pins::folders::list;
use crate::kernel::pins::table_set::{TableSet, refuse_newer, refuse_newer_origins};

/// A set of tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PinnedSet {
    /// The version of its layouts.
    pub version: u32,
    /// An agent ended while it moved the hooks to it.
    pub is_unfinished: bool,
}

impl PinnedSet {
    /// An agent of this build uses them as they are, if its sizes are the same.
    #[must_use]
    pub const fn is_current(&self) -> bool {
        self.version == TABLES_VERSION && !self.is_unfinished
    }
}

/// The sets in a pin folder; empty if there are none.
///
/// # Errors
/// An agent of this build would refuse them, or they cannot be read.
pub fn pinned_sets(pin_dir: &Path) -> Result<Vec<PinnedSet>, KernelError> {
    if !pin_dir.exists() {
        return Ok(Vec::new());
    }
    refuse_newer_origins(pin_dir)?;
    let mut sets = Vec::new();
    for set in list(pin_dir)?.into_iter().filter_map(TableSet::at) {
        if list(&set.folder)?.is_empty() {
            continue;
        }
        refuse_newer(&set.folder, pin_dir, set.version, TABLES_VERSION)?;
        if !is_readable(set.version) {
            return Err(KernelError::Older {
                path: set.folder,
                pin_dir: pin_dir.to_owned(),
                found: set.version,
            });
        }
        if set.version == TABLES_VERSION {
            check_shapes(pin_dir, &set)?;
        }
        sets.push(PinnedSet {
            version: set.version,
            is_unfinished: set.is_next,
        });
    }
    Ok(sets)
}

fn check_shapes(pin_dir: &Path, set: &TableSet) -> Result<(), KernelError> {
    let tables = all(Sizes::default()).filter(|shape| shape.subfolder == Subfolder::Tables);
    for shape in tables {
        length(pin_dir, &shape, &set.folder.join(shape.name))?;
    }
    Ok(())
}
