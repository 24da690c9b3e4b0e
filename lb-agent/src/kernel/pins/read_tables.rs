//! Opens the tables of a pin folder without taking them over.

use std::path::Path;

use lb_common::ORIGINS_VERSION;

use super::folders::list;
use super::lock::check_bpffs;
use super::table_set::{ORIGINS, TableSet};
use crate::kernel::maps::pinned::PinnedMaps;
use crate::kernel::node::error::KernelError;

/// The tables of an agent of this version, whether it runs or not. None if there are none.
pub fn read_tables(folder: &Path) -> Result<Option<PinnedMaps>, KernelError> {
    check_bpffs(folder)?;
    let set = TableSet::ours(folder).folder;
    if !set.exists() || list(&set)?.is_empty() {
        return Ok(None);
    }
    let origins = folder.join(format!("{ORIGINS}{ORIGINS_VERSION}"));
    PinnedMaps::open(&set, &origins).map(Some)
}
