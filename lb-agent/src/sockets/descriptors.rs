//! What the open file descriptors of a process lead to (proc_pid_fd(5)). A node may have 100,000 of them.

use std::ffi::CStr;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::sync::OnceLock;

use rustix::fs::{CWD, Dir, Mode, OFlags, openat, readlinkat};

/// More than the first four lines of a descriptor's fdinfo.
const FDINFO: usize = 256;

/// The ids of all processes that the caller may see.
pub(super) fn processes() -> io::Result<Vec<u32>> {
    let names = fs::read_dir("/proc")?.filter_map(Result::ok);
    let ids = names.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    Ok(ids.collect())
}

/// Calls `see` with the name of each descriptor, as in `/proc/PID/fd/NAME`, and its target, as in `socket:[12345]`. Descriptors that
/// are closed meanwhile are left out.
///
/// # Errors
/// The process has ended, or the caller may not see its descriptors: those of other users' processes need CAP_SYS_PTRACE and
/// CAP_DAC_READ_SEARCH.
pub(super) fn see_targets(process: u32, see: &mut dyn FnMut(&CStr, &[u8])) -> io::Result<()> {
    let folder = open_folder(format!("/proc/{process}/fd"))?;
    let mut target = Vec::new();
    for entry in Dir::read_from(&folder)? {
        let entry = entry?;
        // `.` and `..` are no links.
        match readlinkat(&folder, entry.file_name(), target) {
            Ok(link) => {
                see(entry.file_name(), link.as_bytes());
                target = link.into_bytes();
            }
            Err(_) => target = Vec::new(),
        }
    }
    Ok(())
}

/// Calls `see` with the inode number of the file of each socket that a process has open. CAP_SYS_PTRACE is enough for other users'
/// processes.
pub(super) fn see_sockets(process: u32, see: &mut dyn FnMut(u32)) -> io::Result<()> {
    let seen = see_targets(process, &mut |_, target| {
        if let Some(inode) = socket_inode(target) {
            see(inode);
        }
    });
    match seen {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            see_socket_infos(process, see)
        }
        seen => seen,
    }
}

/// As [`see_sockets`], by proc_pid_fdinfo(5). That takes three system calls for each descriptor in place of one, but unlike `fd` the
/// folder `fdinfo` is open to everybody who may trace the process (fs/proc/fd.c).
fn see_socket_infos(process: u32, see: &mut dyn FnMut(u32)) -> io::Result<()> {
    let Some(sockets) = socket_mount() else {
        return Ok(());
    };
    let folder = open_folder(format!("/proc/{process}/fdinfo"))?;
    let mut buffer = [0; FDINFO];
    for entry in Dir::read_from(&folder)? {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let Ok(file) = openat(&folder, entry?.file_name(), flags, Mode::empty()) else {
            continue;
        };
        let read = rustix::io::read(&file, &mut buffer[..]).unwrap_or_default();
        let info = std::str::from_utf8(buffer.get(..read).unwrap_or_default());
        if let Ok(info) = info
            && field(info, "mnt_id:") == Some(sockets)
            && let Some(inode) = field(info, "ino:")
        {
            see(inode);
        }
    }
    Ok(())
}

fn open_folder(path: String) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(openat(CWD, path, flags, Mode::empty())?)
}

/// The number in `socket:[12345]`.
fn socket_inode(target: &[u8]) -> Option<u32> {
    let number = target.strip_prefix(b"socket:[")?.strip_suffix(b"]")?;
    std::str::from_utf8(number).ok()?.parse().ok()
}

/// The id of the kernel's one mount of sockets, in which all of them have their inodes.
fn socket_mount() -> Option<u32> {
    static MOUNT: OnceLock<Option<u32>> = OnceLock::new();
    *MOUNT.get_or_init(|| {
        let socket = UnixDatagram::unbound().ok()?;
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", socket.as_raw_fd()));
        field(&info.ok()?, "mnt_id:")
    })
}

/// The value of a line of fdinfo.
fn field(info: &str, name: &str) -> Option<u32> {
    let line = info.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use rustix::fs::fstat;

    use super::*;

    #[test]
    fn both_ways_find_the_same_sockets() {
        let socket = UnixDatagram::unbound().expect("a socket");
        let inode = fstat(socket.as_fd()).expect("it is open").st_ino;
        let own = std::process::id();
        let mut seen = [0, 0];
        let is_it = |found: u32| usize::from(u64::from(found) == inode);
        see_sockets(own, &mut |found| seen[0] += is_it(found)).expect("/proc is there");
        see_socket_infos(own, &mut |found| seen[1] += is_it(found)).expect("/proc is there");
        assert_eq!(seen, [1, 1]);
    }
}
