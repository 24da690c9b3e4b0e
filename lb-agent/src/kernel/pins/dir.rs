//! Folders of pins: made for root alone, and listed.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use super::owner;
use crate::kernel::node::error::KernelError;

/// Makes a folder that is root's alone, and refuses one that is not.
pub fn make(folder: &Path) -> Result<(), KernelError> {
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700);
    owner::check_found(folder)
        .and_then(|()| builder.create(folder))
        .and_then(|()| owner::check(folder))
        .map_err(|error| failed(folder, error))
}

pub fn list(folder: &Path) -> Result<Vec<PathBuf>, KernelError> {
    let entries = fs::read_dir(folder).map_err(|error| failed(folder, error))?;
    entries
        .map(|entry| Ok(entry.map_err(|error| failed(folder, error))?.path()))
        .collect()
}

pub fn failed(path: &Path, error: io::Error) -> KernelError {
    KernelError::Pin {
        path: path.to_owned(),
        error,
    }
}
