//! The lock (flock) on the pin folder, which must be on the host's BPF file system.

use std::fs::{self, File, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::{FlockOperation, flock, statfs};
use rustix::io::{Errno, retry_on_intr};

use super::folders::make;
use super::{holder, host};
use crate::kernel::node::error::KernelError;

/// linux/magic.h: BPF_FS_MAGIC.
const BPFFS_MAGIC: i64 = 0xcafe_4a11;

/// Checks that the folder, or its nearest existing ancestor, is on a BPF file system, and on the host's.
pub fn check_bpffs(folder: &Path) -> Result<(), KernelError> {
    let parent = folder
        .ancestors()
        .find(|parent| parent.exists())
        .unwrap_or_else(|| Path::new("/"));
    let kind = statfs(parent).map_err(KernelError::pin("find the file system of", parent))?;
    if kind.f_type == BPFFS_MAGIC {
        return host::check(folder, parent);
    }
    Err(KernelError::NoBpffs {
        path: folder.to_owned(),
        parent: parent.to_owned(),
    })
}

/// Makes the folder if necessary, and locks it.
pub fn lock(folder: &Path, how: FlockOperation) -> Result<File, KernelError> {
    loop {
        make(folder)?;
        let file = File::open(folder).map_err(KernelError::pin("open the pin folder", folder))?;
        match retry_on_intr(|| flock(&file, how)) {
            Ok(()) if is_still_there(folder, &file) => return Ok(file),
            // The previous holder removed the folder.
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                return Err(KernelError::Locked {
                    path: folder.to_owned(),
                    holder: holder::of(folder),
                });
            }
            Err(error) => return Err(KernelError::pin("lock the pin folder", folder)(error)),
        }
    }
}

fn is_still_there(folder: &Path, file: &File) -> bool {
    let identity = |folder: Metadata| (folder.dev(), folder.ino());
    let now = fs::metadata(folder).map(identity).ok();
    now.is_some() && now == file.metadata().map(identity).ok()
}
