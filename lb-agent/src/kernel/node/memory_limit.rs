//! The memory limit of this process in its cgroups, of version 1 or 2.

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use crate::mountinfo::{self, Mount};

/// A limit, and the file that contains it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    pub bytes: u64,
    pub file: PathBuf,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} MiB ({})", self.bytes >> 20, self.file.display())
    }
}

/// Version 1 writes a limit of this size or more if there is none (`PAGE_COUNTER_MAX` in linux/page_counter.h).
const NO_LIMIT: u64 = 1 << 62;

/// The least memory, in bytes, for the agent itself.
pub const AGENT: u64 = 64 << 20;

/// The memory limit, in bytes, that an agent needs with tables of this size. An upgrade fills new tables beside the old
/// ones.
pub const fn needed(tables: u64) -> u64 {
    2 * tables + AGENT
}

/// The lowest limit of this process's cgroup and of its visible ancestors. None if there is no limit or no file is
/// readable.
pub fn limit() -> Option<Limit> {
    let cgroups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let mounts = mountinfo::of_process("self").ok()?;
    let files = files(&cgroups, &mounts);
    let limits = files.into_iter().filter_map(|file| {
        // The value `max` means no limit.
        let bytes: u64 = fs::read_to_string(&file).ok()?.trim().parse().ok()?;
        (bytes < NO_LIMIT).then_some(Limit { bytes, file })
    });
    limits.min_by_key(|limit| limit.bytes)
}

/// The files that may contain a limit for a process with these cgroups (`/proc/PID/cgroup`, cgroups(7)) and mounts.
fn files(cgroups: &str, mounts: &[Mount]) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in cgroups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else {
            continue;
        };
        let (kind, file) = match controllers {
            "" => ("cgroup2", "memory.max"),
            some if some.split(',').any(|name| name == "memory") => {
                ("cgroup", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        let is_of_memory = |options: &OsStr| {
            let options = options.to_string_lossy();
            kind == "cgroup2" || options.split(',').any(|of| of == "memory")
        };
        for mount in mounts {
            if mount.kind != kind || !is_of_memory(&mount.options) {
                continue;
            }
            // A path above the root of the cgroup namespace begins with `/..`; it is not in this mount.
            if let Ok(below) = Path::new(path).strip_prefix(&mount.folder) {
                let up_to = &mount.point;
                let own = up_to.join(below);
                let folders = own.ancestors().take_while(|at| at.starts_with(up_to));
                files.extend(folders.map(|folder| folder.join(file)));
            }
        }
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_sees_its_own_limit_not_the_hosts() {
        let mountinfo = b"\
            40 24 0:36 /../../.. /host/cgroup rw - cgroup2 cgroup2 rw\n\
            41 24 0:36 / /sys/fs/cgroup ro - cgroup2 cgroup2 rw\n";
        let file = Path::new("/sys/fs/cgroup/memory.max");
        assert_eq!(files("0::/\n", &mountinfo::parse(mountinfo)), [file]);
    }

    #[test]
    fn limits_of_ancestor_cgroups_count() {
        let mountinfo = b"30 24 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        let wanted = [
            "/sys/fs/cgroup/pods/pod/memory.max",
            "/sys/fs/cgroup/pods/memory.max",
            "/sys/fs/cgroup/memory.max",
        ];
        assert_eq!(
            files("0::/pods/pod\n", &mountinfo::parse(mountinfo)),
            wanted.map(PathBuf::from)
        );
    }

    #[test]
    fn cgroup_v1_limits_are_read_from_the_memory_hierarchy() {
        let mountinfo = b"\
            31 30 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
            32 30 0:28 /pods/pod /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n\
            33 30 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let cgroups = "4:memory:/pods/pod\n1:cpu:/pods\n0::/\n";
        let wanted = [
            "/sys/fs/cgroup/memory/memory.limit_in_bytes",
            "/sys/fs/cgroup/unified/memory.max",
        ];
        assert_eq!(
            files(cgroups, &mountinfo::parse(mountinfo)),
            wanted.map(PathBuf::from)
        );
    }
}
