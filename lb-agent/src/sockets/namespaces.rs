//! Every network namespace that something holds: a thread, a mount, an open file.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::sched::{CloneFlags, setns};
use rustix::thread::{CapabilitySet, capabilities};

use super::SocketsError;

/// To enter a namespace, and to look at another user's process.
const NEEDED: CapabilitySet = CapabilitySet::SYS_ADMIN.union(CapabilitySet::SYS_PTRACE);

/// Calls `list` in each namespace, with one set for all. The calling thread stays in the last one.
///
/// A namespace that only sockets hold is not found, nor is one of processes only that even CAP_SYS_PTRACE does not open
/// (those of a user namespace around the agent's own).
pub fn for_each(
    mut list: impl FnMut(&mut HashSet<u64>) -> io::Result<()>,
) -> Result<HashSet<u64>, SocketsError> {
    let held = capabilities(None).map_err(|error| SocketsError::Namespaces(error.into()))?;
    if !held.effective.contains(NEEDED) {
        return Err(SocketsError::NotAllowed);
    }
    let mut found = HashSet::new();
    for namespace in all().map_err(SocketsError::Namespaces)? {
        setns(namespace.as_fd(), CloneFlags::CLONE_NEWNET)
            .map_err(|error| SocketsError::Enter(error.into()))?;
        list(&mut found).map_err(SocketsError::List)?;
    }
    Ok(found)
}

fn all() -> io::Result<Vec<File>> {
    let mut namespaces = Namespaces::default();
    namespaces.add(Path::new("/proc/thread-self/ns/net"))?;
    for process in entries(Path::new("/proc"))? {
        let is_process = process
            .file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
        if is_process {
            namespaces.add_of_process(&process)?;
        }
    }
    Ok(namespaces.files)
}

#[derive(Default)]
struct Namespaces {
    /// Inode numbers.
    known: HashSet<u64>,
    files: Vec<File>,
    /// Inode numbers of the mount namespaces whose mounts were looked at.
    mounts: HashSet<u64>,
}

impl Namespaces {
    fn add_of_process(&mut self, process: &Path) -> io::Result<()> {
        for thread in entries(&process.join("task"))? {
            self.add(&thread.join("ns/net"))?;
        }
        for file in entries(&process.join("fd"))? {
            let target = fs::read_link(&file).unwrap_or_default();
            if target.to_str().is_some_and(|t| t.starts_with("net:[")) {
                self.add(&file)?;
            }
        }
        self.add_mounted(process)
    }

    /// As `ip netns` and container runtimes keep them.
    fn add_mounted(&mut self, process: &Path) -> io::Result<()> {
        let Some(metadata) = if_there(fs::metadata(process.join("ns/mnt")))? else {
            return Ok(());
        };
        if !self.mounts.insert(metadata.ino()) {
            return Ok(());
        }
        let Some(mounts) = if_there(fs::read_to_string(process.join("mountinfo")))? else {
            return Ok(());
        };
        for place in net_mounts(&mounts) {
            self.add(&process.join("root").join(place))?;
        }
        Ok(())
    }

    fn add(&mut self, path: &Path) -> io::Result<()> {
        let Some(metadata) = if_there(fs::metadata(path))? else {
            return Ok(());
        };
        if self.known.contains(&metadata.ino()) {
            return Ok(());
        }
        if let Some(file) = if_there(File::open(path))? {
            self.known.insert(metadata.ino());
            self.files.push(file);
        }
        Ok(())
    }
}

/// Where network namespaces are mounted, without the leading `/`. The fields are in proc_pid_mountinfo(5).
fn net_mounts(mountinfo: &str) -> impl Iterator<Item = &str> {
    mountinfo.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(3);
        let (root, place) = (fields.next()?, fields.next()?);
        root.starts_with("net:[")
            .then_some(place.trim_start_matches('/'))
    })
}

/// The paths in a folder; none when it has gone meanwhile.
fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let Some(entries) = if_there(fs::read_dir(folder))? else {
        return Ok(Vec::new());
    };
    Ok(entries
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .collect())
}

/// Processes end while they are looked at, and some may not be looked at.
fn if_there<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) => match (error.kind(), error.raw_os_error()) {
            (ErrorKind::NotFound | ErrorKind::PermissionDenied, _) | (_, Some(libc::ESRCH)) => {
                Ok(None)
            }
            _ => Err(error),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::net_mounts;

    #[test]
    fn mounted_namespaces_are_found() {
        let mounts = "\
            24 1 0:22 / / rw - ext4 /dev/vda rw\n\
            90 24 0:4 net:[4026532281] /run/netns/blue rw shared:1 - nsfs nsfs rw\n\
            91 24 0:4 mnt:[4026532299] /run/snapd/ns/x.mnt rw - nsfs nsfs rw\n";
        let found: Vec<_> = net_mounts(mounts).collect();
        assert_eq!(found, ["run/netns/blue"]);
    }
}
