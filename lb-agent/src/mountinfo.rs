//! The mounts that a process sees: `/proc/PID/mountinfo` (proc_pid_mountinfo(5)).
//!
//! Names are bytes: any process may mount something at a path that is not UTF-8, and others must still be found.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Major and minor number.
    pub device: OsString,
    /// The folder of the file system that is mounted. That of a namespace is like `net:[4026532281]`.
    pub folder: PathBuf,
    pub point: PathBuf,
    pub kind: OsString,
    /// The file system's own options, separated by commas.
    pub options: OsString,
}

impl Mount {
    /// The inode number of the network namespace that is mounted, if it is one.
    #[must_use]
    pub fn network_namespace(&self) -> Option<u64> {
        let name = self.folder.to_str()?;
        let number = name.strip_prefix("net:[")?.strip_suffix(']')?;
        number.parse().ok()
    }
}

/// The mounts of a process, `self` or a number, in the order in which they were made, without unreadable lines.
///
/// # Errors
/// There is no such process, or it is not accessible. EINVAL: it has ended, and its parent has not waited for it yet
/// (`mounts_open_common` in fs/proc_namespace.c).
pub fn of_process(process: &str) -> io::Result<Vec<Mount>> {
    fs::read(format!("/proc/{process}/mountinfo")).map(|text| parse(&text))
}

/// The mounts in the content of the file.
#[must_use]
pub fn parse(mountinfo: &[u8]) -> Vec<Mount> {
    mountinfo
        .split(|byte| *byte == b'\n')
        .filter_map(mount)
        .collect()
}

fn mount(line: &[u8]) -> Option<Mount> {
    let fields: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    // Any number of optional fields comes before it.
    let end = fields.iter().position(|field| *field == b"-")?;
    let field = |place: usize| fields.get(place).map(|field| unescaped(field));
    Some(Mount {
        device: field(2)?,
        folder: field(3)?.into(),
        point: field(4)?.into(),
        kind: field(end + 1)?,
        options: field(end + 3).unwrap_or_default(),
    })
}

/// The kernel writes white space, `\` and `#` as `\` and three octal digits (`mangle` in fs/proc_namespace.c).
fn unescaped(field: &[u8]) -> OsString {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, after)) = rest.split_first() {
        let octal = after.first_chunk().filter(|_| first == b'\\');
        match octal.and_then(byte_of) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[3..];
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    OsString::from_vec(bytes)
}

fn byte_of(octal: &[u8; 3]) -> Option<u8> {
    let digits = std::str::from_utf8(octal).ok()?;
    u8::from_str_radix(digits, 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_optional_fields_and_options() {
        let lines = b"33 31 0:30 /pod /sys/fs/cgroup/memory ro,nosuid master:9 - cgroup cgroup rw,memory\nnonsense\n";
        let wanted = Mount {
            device: "0:30".into(),
            folder: "/pod".into(),
            point: "/sys/fs/cgroup/memory".into(),
            kind: "cgroup".into(),
            options: "rw,memory".into(),
        };
        assert_eq!(parse(lines), [wanted]);
    }

    #[test]
    fn paths_are_any_bytes() {
        let lines = b"33 31 0:30 / /a\\040b\\134\\09\xff rw - bpf bpf rw\n";
        let found = parse(lines);
        let wanted = OsString::from_vec(b"/a b\\\\09\xff".to_vec());
        assert_eq!(found[0].point, PathBuf::from(wanted));
    }

    #[test]
    fn network_namespaces_are_recognized() {
        let lines = b"\
            24 1 0:22 / / rw - ext4 /dev/vda rw\n\
            90 24 0:4 net:[4026532281] /run/netns/blue rw shared:1 - nsfs nsfs rw\n\
            91 24 0:4 mnt:[4026532299] /run/snapd/ns/x.mnt rw - nsfs nsfs rw\n";
        let found: Vec<_> = parse(lines).iter().map(Mount::network_namespace).collect();
        assert_eq!(found, [None, Some(4_026_532_281), None]);
    }
}
