//! Whose are the folders that pins are in? Whoever may put something else there decides where connections go.
//!
//! A BPF file system that is mounted without options is open to all users, as /tmp is (`bpf_fill_super` in kernel/bpf/inode.c).

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::process::geteuid;

use crate::kernel::node::error::KernelError;

const FIND_OWNER: &str = "find the owner of";

/// Write permission of the group and of others.
const OTHERS_WRITE: u32 = 0o022;

/// Only the owner of an entry may rename or remove it.
const STICKY: u32 = 0o1000;

/// What is at a path already is nobody else's, also if it is a link: where `fs.protected_symlinks` is on, the kernel does not
/// follow one, and would only say that there is something.
///
/// # Errors
/// It is somebody else's, or cannot be looked at.
pub fn check_found(path: &Path) -> Result<(), KernelError> {
    match fs::symlink_metadata(path) {
        Ok(found) => check_owner(path, found.uid()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(KernelError::pin(FIND_OWNER, path)(error)),
    }
}

/// Nobody but root and this process's user may change the folder, or put another in its place.
///
/// # Errors
/// Somebody else may: the message says who and what to do. Or one of the folders cannot be looked at.
pub fn check(folder: &Path) -> Result<(), KernelError> {
    let failed = KernelError::pin(FIND_OWNER, folder);
    // A link of somebody else's may lead elsewhere tomorrow.
    let owner = fs::symlink_metadata(folder).map_err(&failed)?.uid();
    check_owner(folder, owner)?;
    let whole = fs::canonicalize(folder).map_err(&failed)?;
    let device = fs::metadata(&whole).map_err(&failed)?.dev();
    for ancestor in whole.ancestors() {
        let found = fs::metadata(ancestor).map_err(KernelError::pin(FIND_OWNER, ancestor))?;
        if found.dev() != device {
            break;
        }
        check_owner(ancestor, found.uid())?;
        let is_sticky = found.mode() & STICKY != 0 && ancestor != whole;
        if found.mode() & OTHERS_WRITE != 0 && !is_sticky {
            return Err(KernelError::WritableByOthers {
                path: ancestor.to_owned(),
            });
        }
    }
    Ok(())
}

fn check_owner(path: &Path, owner: u32) -> Result<(), KernelError> {
    if owner == 0 || owner == geteuid().as_raw() {
        return Ok(());
    }
    Err(KernelError::ForeignOwner {
        path: path.to_owned(),
        owner,
    })
}
