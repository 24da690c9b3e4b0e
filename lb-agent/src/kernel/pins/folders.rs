//! Folders of pins: made for root alone, and listed.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use super::owner;
use crate::kernel::node::error::KernelError;

/// Makes a folder that only root can use, and refuses an existing one that others can use.
pub fn make(folder: &Path) -> Result<(), KernelError> {
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700);
    owner::check_found(folder)?;
    builder
        .create(folder)
        .map_err(KernelError::pin("create the folder", folder))?;
    owner::check(folder)
}

pub fn list(folder: &Path) -> Result<Vec<PathBuf>, KernelError> {
    let failed = KernelError::pin("list the folder", folder);
    let entries = fs::read_dir(folder).map_err(&failed)?;
    entries
        .map(|entry| Ok(entry.map_err(&failed)?.path()))
        .collect()
}

pub fn remove_empty(folder: &Path) -> Result<(), KernelError> {
    fs::remove_dir(folder).map_err(KernelError::pin("remove the folder", folder))
}

pub fn remove_pin(pin: &Path) -> Result<(), KernelError> {
    fs::remove_file(pin).map_err(KernelError::pin("remove the pin", pin))
}
