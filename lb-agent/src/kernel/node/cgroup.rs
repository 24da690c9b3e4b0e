//! The cgroup whose sockets are load-balanced.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::error::KernelError;
use crate::mountinfo::{self, Mount};

/// linux/magic.h: CGROUP2_SUPER_MAGIC.
const CGROUP2_MAGIC: i64 = 0x6367_7270;

/// The id of the root: the first id that kernfs assigns (`kernfs_create_root` in fs/kernfs/dir.c).
const ROOT: u64 = 1;

/// An open folder of a cgroup2 hierarchy.
#[derive(Debug)]
pub struct Cgroup {
    pub path: PathBuf,
    /// Its inode number, which the kernel uses as the id of the cgroup.
    pub id: u64,
    /// The settings name no cgroup.
    pub is_default: bool,
    folder: File,
}

impl Cgroup {
    /// Opens the given cgroup, or the hierarchy that is mounted in a folder below it. Without a given one, opens the
    /// root of the hierarchy if that is mounted, else the part that is mounted.
    pub fn open(path: Option<&Path>) -> Result<Self, KernelError> {
        let Some(given) = path else {
            let path = best(mounted_at(mounts()?)).ok_or(KernelError::NoCgroup2)?;
            return Self::at(path.clone(), true)?.ok_or(KernelError::NotCgroup2 { path });
        };
        if let Some(cgroup) = Self::at(given.to_owned(), false)? {
            return Ok(cgroup);
        }
        let not_cgroup2 = || KernelError::NotCgroup2 {
            path: given.to_owned(),
        };
        let below = best(below(given, mounted_at(mounts()?))).ok_or_else(not_cgroup2)?;
        let found = Self::at(below, false)?.ok_or_else(not_cgroup2)?;
        tracing::debug!(
            event = "cgroup.found",
            path = %given.display(),
            cgroup = %found.path.display(),
            "found the cgroup2 hierarchy below the folder of --cgroup",
        );
        Ok(found)
    }

    /// None if the folder is on another file system.
    fn at(path: PathBuf, is_default: bool) -> Result<Option<Self>, KernelError> {
        let failed = |error| KernelError::Cgroup {
            path: path.clone(),
            error,
        };
        let folder = File::open(&path).map_err(failed)?;
        let id = folder.metadata().map_err(failed)?.ino();
        let kind = rustix::fs::fstatfs(&folder).map_err(|error| failed(error.into()))?;
        if kind.f_type != CGROUP2_MAGIC {
            return Ok(None);
        }
        Ok(Some(Self {
            is_default,
            path,
            id,
            folder,
        }))
    }
}

impl Cgroup {
    /// Whether the cgroup contains all processes of the machine. In a cgroup namespace the mounted folder is not the
    /// root.
    #[must_use]
    pub const fn is_root(&self) -> bool {
        self.id == ROOT
    }
}

impl AsFd for Cgroup {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.folder.as_fd()
    }
}

fn best(mounts: Vec<PathBuf>) -> Option<PathBuf> {
    let is_root = |path: &PathBuf| path.metadata().is_ok_and(|folder| folder.ino() == ROOT);
    let best = mounts.iter().find(|path| is_root(path)).cloned();
    best.or_else(|| mounts.into_iter().find(|path| path.is_dir()))
}

/// If version 1 is in use too, cgroup2 is mounted in a folder below its hierarchies; systemd uses `unified`.
fn below(path: &Path, mut mounts: Vec<PathBuf>) -> Vec<PathBuf> {
    // Mountinfo contains mount points without symbolic links.
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    mounts.retain(|mount| mount.parent() == Some(&path));
    mounts
}

fn mounts() -> Result<Vec<Mount>, KernelError> {
    mountinfo::of_process("self").map_err(KernelError::system(
        "read /proc/self/mountinfo, to find where cgroup2 is mounted",
    ))
}

/// The mount points of cgroup2 hierarchies.
fn mounted_at(mounts: Vec<Mount>) -> Vec<PathBuf> {
    mounts
        .into_iter()
        .filter(|mount| mount.kind == "cgroup2")
        .map(|mount| mount.point)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cgroup2_is_found_in_a_hybrid_hierarchy() {
        // A container with the host's hierarchy at /host/cgroup.
        let mountinfo = b"\
            30 24 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
            31 30 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
            32 30 0:36 /pod /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n\
            40 24 0:26 / /host/cgroup rw - tmpfs tmpfs rw\n\
            42 40 0:36 / /host/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";
        let all = mounted_at(mountinfo::parse(mountinfo));
        let of_host = Path::new("/host/cgroup/unified");
        assert_eq!(all, [Path::new("/sys/fs/cgroup/unified"), of_host]);
        assert_eq!(below(Path::new("/host/cgroup"), all.clone()), [of_host]);
        assert!(below(Path::new("/host/cg"), all).is_empty());
    }

    #[test]
    fn a_node_without_cgroup2_has_no_mount() {
        assert!(mounted_at(mountinfo::parse(b"30 24 0:26 / / rw - ext4 /dev/sda rw\n")).is_empty());
    }
}
