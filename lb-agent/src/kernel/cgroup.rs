//! The cgroup whose sockets are balanced.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::KernelError;

/// linux/magic.h: CGROUP2_SUPER_MAGIC.
const CGROUP2_MAGIC: i64 = 0x6367_7270;

/// The root's id: the first that kernfs gives (`kernfs_create_root` in fs/kernfs/dir.c).
const ROOT: u64 = 1;

/// An open folder of a cgroup2 hierarchy.
#[derive(Debug)]
pub struct Cgroup {
    pub path: PathBuf,
    /// Its inode number, which is what the kernel calls the cgroup's id.
    pub id: u64,
    /// Nobody asked for this one.
    pub is_default: bool,
    folder: File,
}

impl Cgroup {
    /// Opens a cgroup: the one given, else the root of the hierarchy where that is mounted, else what is mounted of it.
    pub fn open(path: Option<&Path>) -> Result<Self, KernelError> {
        let is_default = path.is_none();
        let path = match path {
            Some(path) => path.to_owned(),
            None => best(mounted_at(&mountinfo()?)).ok_or(KernelError::NoCgroup2)?,
        };
        let failed = |error| KernelError::Cgroup {
            path: path.clone(),
            error,
        };
        let folder = File::open(&path).map_err(failed)?;
        let id = folder.metadata().map_err(failed)?.ino();
        let kind = rustix::fs::fstatfs(&folder).map_err(|error| failed(error.into()))?;
        if kind.f_type != CGROUP2_MAGIC {
            return Err(KernelError::NotCgroup2 { path });
        }
        Ok(Self {
            is_default,
            path,
            id,
            folder,
        })
    }
}

impl Cgroup {
    /// Whether all processes of the machine are in it. In a cgroup namespace what is mounted is not the root.
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

fn mountinfo() -> Result<String, KernelError> {
    std::fs::read_to_string("/proc/self/mountinfo").map_err(|error| KernelError::System {
        what: "/proc/self/mountinfo",
        error,
    })
}

/// Where cgroup2 hierarchies are mounted; format in proc(5): the fifth field, and the file system's type after " - ".
fn mounted_at(mountinfo: &str) -> Vec<PathBuf> {
    mountinfo
        .lines()
        .filter_map(|line| {
            let (mount, kind) = line.split_once(" - ")?;
            let is_cgroup2 = kind.split(' ').next() == Some("cgroup2");
            is_cgroup2.then(|| mount.split(' ').nth(4)).flatten()
        })
        .map(PathBuf::from)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::mounted_at;

    #[test]
    fn a_hybrid_hierarchy_has_its_cgroup2_below() {
        let mountinfo = "\
            30 24 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
            31 30 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
            40 30 0:36 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";
        assert_eq!(
            mounted_at(mountinfo),
            [std::path::Path::new("/sys/fs/cgroup/unified")]
        );
    }

    #[test]
    fn no_cgroup2_is_no_surprise() {
        assert!(mounted_at("30 24 0:26 / / rw - ext4 /dev/sda rw\n").is_empty());
    }
}
