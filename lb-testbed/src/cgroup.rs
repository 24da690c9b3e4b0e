//! The cgroup of a node. It does not vanish with the sandbox's process, so it has to be removed.

use std::io::{self, ErrorKind};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use std::{fs, thread};

use anyhow::{Context as _, Result, anyhow};
use nix::fcntl::{OFlag, open};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, write};

use crate::patience::stretched;

/// Longest time for the kernel to reap the processes of a killed cgroup: milliseconds, but longer on a machine so busy that they
/// wait for a CPU.
const EMPTY_WITHIN: Duration = Duration::from_secs(60);

/// A cgroup v2 folder.
#[derive(Clone, Debug)]
pub struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// Makes the folder `name` under this mount of cgroup2.
    pub fn create(root: &Path, name: &str) -> Result<Self> {
        let path = root.join(name);
        fs::create_dir(&path)
            .with_context(|| format!("cannot make the cgroup {}", path.display()))?;
        Ok(Self { path })
    }

    /// An existing cgroup.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes a cgroup inside this one.
    pub fn child(&self, name: &str) -> Result<Self> {
        Self::create(&self.path, name)
    }

    /// Lets threads of one process be in different cgroups: in this one, in its parent, and in others like it.
    pub fn threaded(self) -> Result<Self> {
        fs::write(self.path.join("cgroup.type"), "threaded")
            .with_context(|| format!("cannot make the cgroup {} threaded", self.path.display()))?;
        Ok(self)
    }

    /// Moves the calling thread into this cgroup, which must be a threaded one. Threads and processes that it starts
    /// afterwards are in it too.
    pub(crate) fn join_thread(&self) -> io::Result<()> {
        fs::write(self.path.join("cgroup.threads"), "0")
    }

    /// Makes the process that `command` starts begin in this cgroup.
    pub(crate) fn starts<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        let procs = self.path.join("cgroup.procs");
        let join = move || {
            let procs = open(&procs, OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty())?;
            write(procs, b"0")?;
            Ok(())
        };
        // SAFETY: between fork and exec only open, write and close are called, which are async-signal-safe; nix copies
        // a path as short as a cgroup's to the stack.
        unsafe { command.pre_exec(join) }
    }

    /// Moves the calling process, with all of its threads, into this cgroup.
    pub fn join(&self) -> Result<()> {
        fs::write(self.path.join("cgroup.procs"), "0")
            .with_context(|| format!("cannot join the cgroup {}", self.path.display()))
    }

    /// Kills its processes and removes it with its children. It may have been removed before.
    pub fn remove(&self) -> Result<()> {
        let deadline = Instant::now() + stretched(EMPTY_WITHIN);
        loop {
            kill_all(&self.path);
            match remove_tree(&self.path) {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
                Err(error) if Instant::now() > deadline => {
                    return Err(error).with_context(|| {
                        format!("cannot remove the cgroup {}", self.path.display())
                    });
                }
                Err(_) => thread::sleep(Duration::from_millis(5)),
            }
        }
    }
}

/// Removes the cgroups `PREFIX-PID` whose process has exited: they remain when a whole process tree was killed.
pub(crate) fn remove_stale(root: &Path, prefix: &str) {
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| {
            name.strip_prefix(prefix)?
                .strip_prefix('-')?
                .parse::<u32>()
                .ok()
        });
        if owner.is_some_and(is_gone) {
            // Another process may be removing the same cgroup.
            let _ = Cgroup::at(entry.path()).remove();
        }
    }
}

/// Whether a process has exited. A zombie has no program.
pub(crate) fn is_gone(pid: u32) -> bool {
    fs::read_link(format!("/proc/{pid}/exe")).is_err()
}

/// Calls `work` with a mount of cgroup2: the machine's own, or a temporary one on `spare`, in a mount namespace of the thread that
/// runs `work`.
pub(crate) fn with_cgroup2<T: Send>(
    spare: &Path,
    work: impl FnOnce(&Path) -> T + Send,
) -> Result<T> {
    if let Some(root) = mounted()? {
        return Ok(work(&root));
    }
    thread::scope(|scope| {
        let mounting = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNS).context("cannot make a mount namespace")?;
            make_mounts_private()?;
            let root = mount_on(spare)?;
            Ok(work(&root))
        });
        mounting
            .join()
            .map_err(|_| anyhow!("the work on cgroup2 panicked"))?
    })
}

/// The machine's mount of cgroup2, or one made on `spare` in the caller's own (private) mount namespace.
pub(crate) fn mounted_or_on(spare: &Path) -> Result<PathBuf> {
    mounted()?.map_or_else(|| mount_on(spare), Ok)
}

pub(crate) fn make_mounts_private() -> Result<()> {
    let flags = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, flags, None::<&str>)
        .context("cannot make the mounts private")
}

fn mount_on(spare: &Path) -> Result<PathBuf> {
    fs::create_dir_all(spare).with_context(|| format!("cannot make {}", spare.display()))?;
    mount(
        Some("socklb"),
        spare,
        Some("cgroup2"),
        MsFlags::empty(),
        None::<&str>,
    )
    .context(
        "no cgroup2 is mounted, and mounting one failed: this needs a kernel with cgroup v2",
    )?;
    Ok(spare.to_owned())
}

/// The first writable cgroup2 mount, in the unified layout or the hybrid one.
fn mounted() -> Result<Option<PathBuf>> {
    let mounts = fs::read_to_string("/proc/thread-self/mountinfo")
        .context("cannot read the list of mounts")?;
    Ok(mounts.lines().find_map(cgroup2_mount_point))
}

/// The mount point of a line of `mountinfo`, if that is a writable cgroup2 (proc_pid_mountinfo(5)).
fn cgroup2_mount_point(line: &str) -> Option<PathBuf> {
    let (place, kind) = line.split_once(" - ")?;
    let mut place = place.split(' ').skip(4);
    let (point, options) = (place.next()?, place.next()?);
    let writable = options.split(',').any(|option| option == "rw");
    (writable && kind.split(' ').next()? == "cgroup2").then(|| PathBuf::from(point))
}

fn kill_all(path: &Path) {
    if fs::write(path.join("cgroup.kill"), "1").is_ok() {
        return;
    }
    // cgroup.kill came with Linux 5.14: process by process before that.
    for child in children(path) {
        kill_all(&child);
    }
    let processes = fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
    for pid in processes.lines().filter_map(|line| line.parse().ok()) {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
}

fn remove_tree(path: &Path) -> std::io::Result<()> {
    for child in children(path) {
        remove_tree(&child)?;
    }
    fs::remove_dir(path)
}

fn children(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_hybrid_mount_is_found() {
        let v1 = "40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd";
        let v2 = "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw";
        let read_only = "41 31 0:38 / /sys/fs/cgroup ro,relatime - cgroup2 cgroup2 rw";
        assert_eq!(cgroup2_mount_point(v1), None);
        assert_eq!(
            cgroup2_mount_point(v2),
            Some(PathBuf::from("/sys/fs/cgroup/unified"))
        );
        assert_eq!(cgroup2_mount_point(read_only), None);
    }
}
