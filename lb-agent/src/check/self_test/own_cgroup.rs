//! The cgroup of a self-test, and what killed ones left.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

/// The beginning of the cgroup's name, before the process id.
const PREFIX: &str = "socklb-self-test-";

/// A process that was killed leaves its cgroup only when the kernel has ended all of its threads.
const ATTEMPTS: u32 = 100;
const PAUSE: Duration = Duration::from_millis(10);

/// An empty cgroup, removed on drop. The process in it must have ended by then.
#[derive(Debug)]
pub(super) struct OwnCgroup {
    path: PathBuf,
    /// Others see by the lock (flock) that the cgroup is in use. A process id would not tell: it may be of another PID namespace.
    _lock: File,
}

impl OwnCgroup {
    /// Makes it below a cgroup, and removes those that killed self-tests left there.
    pub(super) fn make(parent: &Path) -> io::Result<Self> {
        remove_left(parent);
        let path = parent.join(format!("{PREFIX}{}", std::process::id()));
        fs::create_dir(&path)?;
        let lock = File::open(&path).and_then(|lock| {
            flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
            Ok(lock)
        });
        match lock {
            Ok(lock) => Ok(Self { path, _lock: lock }),
            Err(error) => {
                let _ = fs::remove_dir(&path);
                Err(error)
            }
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn remove(self) -> io::Result<()> {
        remove(&self.path)
    }
}

impl Drop for OwnCgroup {
    fn drop(&mut self) {
        // Often it has been removed already.
        let _ = remove(&self.path);
    }
}

fn remove(path: &Path) -> io::Result<()> {
    let mut result = fs::remove_dir(path);
    for _ in 0..ATTEMPTS {
        match &result {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            _ => break,
        }
        thread::sleep(PAUSE);
        result = fs::remove_dir(path);
    }
    result
}

/// Removes the cgroups that no process has locked. One that is not empty stays.
fn remove_left(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        let path = entry.path();
        let is_unused = File::open(&path)
            .is_ok_and(|folder| flock(&folder, FlockOperation::NonBlockingLockExclusive).is_ok());
        if is_unused {
            let _ = remove(&path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_cgroups_without_a_process_are_removed() {
        let parent = tempfile::tempdir().expect("a folder");
        let left = parent.path().join(format!("{PREFIX}1"));
        let other = parent.path().join("kubepods");
        for folder in [&left, &other] {
            fs::create_dir(folder).expect("it is new");
        }
        let own = OwnCgroup::make(parent.path()).expect("it is made");
        assert!(!left.exists() && other.exists());
        remove_left(parent.path());
        assert!(own.path().exists(), "it is in use");
        let path = own.path().to_owned();
        own.remove().expect("it is empty");
        assert!(!path.exists());
    }
}
