//! Lines of `/proc/PID/mountinfo` (proc_pid_mountinfo(5)).

use std::fs;
use std::io;

/// One mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mount<'a> {
    /// Major and minor number.
    pub device: &'a str,
    /// The folder of the file system that is mounted.
    pub folder: &'a str,
    /// The mount point, with spaces written as `\040`.
    pub point: &'a str,
    pub kind: &'a str,
    /// The file system's own options, separated by commas.
    pub options: &'a str,
}

/// Reads the mountinfo of a process, `self` or a number.
///
/// # Errors
/// There is no such process, or it is not accessible; the error names the file.
pub fn read(process: &str) -> io::Result<String> {
    let path = format!("/proc/{process}/mountinfo");
    fs::read_to_string(&path)
        .map_err(|error| io::Error::new(error.kind(), format!("{path}: {error}")))
}

/// The mounts, in the order in which they were made, without unreadable lines.
pub fn mounts(mountinfo: &str) -> impl Iterator<Item = Mount<'_>> {
    mountinfo.lines().filter_map(|line| {
        let (mount, of_kind) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(2);
        let mut of_kind = of_kind.split(' ');
        Some(Mount {
            device: fields.next()?,
            folder: fields.next()?,
            point: fields.next()?,
            kind: of_kind.next()?,
            options: of_kind.nth(1).unwrap_or_default(),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mountinfo_line_includes_superblock_options() {
        let lines = "33 31 0:30 /pod /sys/fs/cgroup/memory ro,nosuid master:9 - cgroup cgroup rw,memory\nnonsense\n";
        let found: Vec<Mount<'_>> = mounts(lines).collect();
        let wanted = Mount {
            device: "0:30",
            folder: "/pod",
            point: "/sys/fs/cgroup/memory",
            kind: "cgroup",
            options: "rw,memory",
        };
        assert_eq!(found, [wanted]);
    }
}
