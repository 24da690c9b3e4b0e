//! Finds every network namespace that a thread, a mount or an open file holds.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::ops::ControlFlow;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nix::sched::{CloneFlags, setns};
use rustix::fs::fstatfs;

use super::descriptors::{processes, see_targets};
use super::error::SocketsError;
use crate::mountinfo;

/// linux/magic.h.
const NSFS_MAGIC: i64 = 0x6e73_6673;

/// Called in a namespace after the thread has entered it, with the namespace's inode number or the error of entering.
/// Returns whether to continue with the next one.
type Visit<'a> = dyn FnMut(io::Result<u64>) -> Result<ControlFlow<()>, SocketsError> + 'a;

/// The namespace to which a thread returns.
pub struct Home(File);

impl Home {
    /// The calling thread's namespace.
    pub fn of_this_thread() -> Result<Self, SocketsError> {
        File::open("/proc/thread-self/ns/net")
            .map(Self)
            .map_err(SocketsError::Namespaces)
    }

    /// The namespace's inode number.
    pub fn number(&self) -> io::Result<u64> {
        self.0.metadata().map(|of| of.ino())
    }

    /// Calls `ask` in a namespace, which may be impossible to enter. The thread is here again afterwards.
    pub fn ask_in<T>(
        &self,
        namespace: &File,
        ask: impl FnOnce() -> io::Result<T>,
    ) -> Result<io::Result<T>, SocketsError> {
        let answer = enter(namespace).and_then(|()| ask());
        // Return in every case, also after an error.
        enter(&self.0).map_err(SocketsError::Enter)?;
        Ok(answer)
    }

    /// Calls `visit` here, then in each other namespace, until it ends the walk. Namespaces of processes come first,
    /// since they contain nearly all sockets; then come those that only a thread, a mount or an open file holds. The
    /// walk finds, enters and closes one after the other, so it keeps none alive. The thread is here again afterwards.
    ///
    /// The walk does not find a namespace that only sockets hold. Nor does it find one that only processes hold
    /// and that even CAP_SYS_PTRACE does not open (those of a user namespace around the agent's own).
    pub fn walk(&self, visit: &mut Visit<'_>) -> Result<(), SocketsError> {
        let mut walk = Walk {
            known: HashSet::new(),
            mounts: HashSet::new(),
            visit,
        };
        let result = walk.everywhere(self);
        // Return in every case, also after an error.
        let back = enter(&self.0).map_err(SocketsError::Enter);
        match result {
            Ok(_) => back,
            Err(stopped) => Err(stopped),
        }
    }
}

fn enter(namespace: &File) -> io::Result<()> {
    setns(namespace.as_fd(), CloneFlags::CLONE_NEWNET).map_err(Into::into)
}

struct Walk<'a, 'v> {
    /// Inode numbers. A namespace that is made meanwhile may reuse the number of a removed one. It is skipped then,
    /// which is harmless, since no target is in such a new one.
    known: HashSet<u64>,
    /// Inode numbers of the mount namespaces whose mounts were searched.
    mounts: HashSet<u64>,
    visit: &'a mut Visit<'v>,
}

impl Walk<'_, '_> {
    fn everywhere(&mut self, home: &Home) -> Result<ControlFlow<()>, SocketsError> {
        let number = home.number().map_err(SocketsError::Namespaces)?;
        self.known.insert(number);
        if (self.visit)(enter(&home.0).map(|()| number))?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
        let processes = processes().map_err(SocketsError::Namespaces)?;
        for process in &processes {
            if self.add(&folder(*process).join("ns/net"))?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        for process in &processes {
            let files = namespace_files(*process, &mut self.mounts);
            for file in files.map_err(SocketsError::Namespaces)? {
                if self.add(&file)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Visits a namespace that was not visited before.
    fn add(&mut self, path: &Path) -> Result<ControlFlow<()>, SocketsError> {
        let opened = open(path, &mut self.known);
        let Some((number, file)) = opened.map_err(SocketsError::Namespaces)? else {
            return Ok(ControlFlow::Continue(()));
        };
        match enter(&file) {
            // The file is a namespace of another kind, mounted over a network namespace.
            Err(error) if error.kind() == ErrorKind::InvalidInput => Ok(ControlFlow::Continue(())),
            entered => (self.visit)(entered.map(|()| number)),
        }
    }
}

/// Opens a namespace if its inode number is new; returns both.
///
/// Any file may be mounted over a namespace: opening a FIFO would block, and opening a device may do anything. So the
/// function first opens only the path (O_PATH).
fn open(path: &Path, known: &mut HashSet<u64>) -> io::Result<Option<(u64, File)>> {
    let mut name = OpenOptions::new();
    name.read(true).custom_flags(libc::O_PATH);
    let Some(named) = if_there(name.open(path))? else {
        return Ok(None);
    };
    let number = named.metadata()?.ino();
    if fstatfs(&named)?.f_type != NSFS_MAGIC || !known.insert(number) {
        return Ok(None);
    }
    let file = File::open(format!("/proc/thread-self/fd/{}", named.as_raw_fd()))?;
    Ok(Some((number, file)))
}

/// Paths at which a process may hold more namespaces than its own.
///
/// `mounts`: the searched mount namespaces, by inode number.
fn namespace_files(process: u32, mounts: &mut HashSet<u64>) -> io::Result<Vec<PathBuf>> {
    let folder = folder(process);
    let threads = entries(&folder.join("task"))?;
    let mut files: Vec<PathBuf> = threads.iter().map(|thread| thread.join("ns/net")).collect();
    let descriptors = folder.join("fd");
    let seen = see_targets(process, &mut |name, target| {
        if target.starts_with(b"net:[") {
            files.push(descriptors.join(OsStr::from_bytes(name.to_bytes())));
        }
    });
    if_there(seen)?;
    files.extend(mounted(process, mounts)?);
    Ok(files)
}

fn folder(process: u32) -> PathBuf {
    PathBuf::from(format!("/proc/{process}"))
}

/// Named namespaces are mounted, as by `ip netns` and container runtimes.
fn mounted(number: u32, seen: &mut HashSet<u64>) -> io::Result<Vec<PathBuf>> {
    let Some(metadata) = if_there(fs::metadata(folder(number).join("ns/mnt")))? else {
        return Ok(Vec::new());
    };
    if !seen.insert(metadata.ino()) {
        return Ok(Vec::new());
    }
    let mounts = match mountinfo::of_process(&number.to_string()) {
        // It ended meanwhile.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => None,
        read => if_there(read)?,
    };
    let mounts = mounts.unwrap_or_default();
    let root = folder(number).join("root");
    let points = mounts
        .iter()
        .filter(|mount| mount.network_namespace().is_some());
    let points = points.map(|mount| mount.point.strip_prefix("/").unwrap_or(&mount.point));
    Ok(points.map(|point| root.join(point)).collect())
}

/// The paths in a folder; none if it was removed meanwhile.
fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let Some(entries) = if_there(fs::read_dir(folder))? else {
        return Ok(Vec::new());
    };
    Ok(entries
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .collect())
}

/// Processes end during the search, some are not accessible, and their mounts move.
fn if_there<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) => match (error.kind(), error.raw_os_error()) {
            (ErrorKind::NotFound | ErrorKind::PermissionDenied, _)
            | (_, Some(libc::ESRCH | libc::ENOTDIR | libc::ELOOP)) => Ok(None),
            _ => Err(error),
        },
    }
}
