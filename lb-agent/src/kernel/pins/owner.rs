//! Whose are the folders that pins are in? Whoever may put something else there decides where connections go.
//!
//! A BPF file system that is mounted without options is open to all users, as /tmp is (`bpf_fill_super` in kernel/bpf/inode.c).

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::process::geteuid;

/// Write permission of the group and of others.
const OTHERS_WRITE: u32 = 0o022;

/// Only the owner of an entry may rename or remove it.
const STICKY: u32 = 0o1000;

/// What is at a path already is nobody else's, also if it is a link: where `fs.protected_symlinks` is on, the kernel does not
/// follow one, and would only say that there is something.
///
/// # Errors
/// It is somebody else's, or cannot be looked at.
pub fn check_found(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) => check_owner(path, found.uid()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Nobody but root and this process's user may change the folder, or put another in its place.
///
/// # Errors
/// Somebody else may: the message says who and what to do. Or one of the folders cannot be looked at.
pub fn check(folder: &Path) -> io::Result<()> {
    // A link of somebody else's may lead elsewhere tomorrow.
    check_owner(folder, fs::symlink_metadata(folder)?.uid())?;
    let whole = fs::canonicalize(folder)?;
    let device = fs::metadata(&whole)?.dev();
    for place in whole.ancestors() {
        let found = fs::metadata(place)?;
        if found.dev() != device {
            break;
        }
        check_owner(place, found.uid())?;
        let is_sticky = found.mode() & STICKY != 0 && place != whole;
        if found.mode() & OTHERS_WRITE != 0 && !is_sticky {
            return Err(io::Error::other(format!(
                "{} may be written to by others than its owner: `chmod go-w` it, or name another folder with --pin-dir",
                place.display()
            )));
        }
    }
    Ok(())
}

fn check_owner(place: &Path, owner: u32) -> io::Result<()> {
    if owner == 0 || owner == geteuid().as_raw() {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "{} belongs to user {owner}, who decides what is in it: remove it, or name another folder with --pin-dir",
        place.display()
    )))
}
