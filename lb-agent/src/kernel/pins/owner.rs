//! Checks who owns the folders of the pins. A user who can replace a pin decides where connections go.
//!
//! A BPF file system that is mounted without options is writable by all users, as /tmp is (`bpf_fill_super` in
//! kernel/bpf/inode.c).

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::process::geteuid;

use crate::kernel::node::error::KernelError;

const FIND_OWNER: &str = "find the owner of";

/// Write permission of the group and of others.
const OTHERS_WRITE: u32 = 0o022;

/// The sticky bit: only the owner of an entry may rename or remove it.
const STICKY: u32 = 0o1000;

/// Checks that an existing file at a path belongs to root or this process's user. A symbolic link is not followed,
/// since with `fs.protected_symlinks` the kernel does not follow one either and only reports that the path exists.
///
/// # Errors
/// The file belongs to another user, or is inaccessible.
pub fn check_found(path: &Path) -> Result<(), KernelError> {
    match fs::symlink_metadata(path) {
        Ok(found) => check_owner(path, found.uid()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(KernelError::pin(FIND_OWNER, path)(error)),
    }
}

/// Checks that only root and this process's user can change the folder or replace it.
///
/// # Errors
/// Another user can; the message names the user and what to do. Or one of the folders is inaccessible.
pub fn check(folder: &Path) -> Result<(), KernelError> {
    let failed = KernelError::pin(FIND_OWNER, folder);
    // The owner of a link can make it lead elsewhere later.
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
