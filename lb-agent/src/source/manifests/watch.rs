//! Checks the manifests again when the kernel reports a change.
//!
//! The agent watches folders, never files: editors replace a file by renaming another over it, and a mounted ConfigMap replaces
//! a link beside it. A check at long intervals covers file systems without events (network mounts).

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use std::{fs, io, thread};

use notify::event::{AccessKind, AccessMode, ModifyKind};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc::Sender;

use super::paths::Stamp;
use super::reader::{Manifests, ReadOptions};
use crate::source::batch::Batch;

/// Changes within this time of each other are checked together.
const QUIET: Duration = Duration::from_millis(20);
/// The longest delay of a check, however long the changes continue.
const LONGEST_BURST: Duration = Duration::from_millis(60);
/// The time in which a file that looks half-written may be completed.
const HALF_WRITTEN_WAIT: Duration = Duration::from_millis(30);
/// The interval between checks without an event.
const RECHECK_EVERY: Duration = Duration::from_secs(10);
/// The same, if the kernel gives no events.
const RECHECK_UNWATCHED: Duration = Duration::from_secs(1);

/// In bytes, as large as the stack of a process's first thread: a document may be deep (`yaml`), and a debug build takes 20 kB
/// for each level.
pub(super) const STACK: usize = 8 << 20;

impl Manifests {
    /// Starts a thread that sends the differences, until the receiver is dropped.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn watch(mut self, batches: Sender<Batch>) -> io::Result<JoinHandle<()>> {
        thread::Builder::new()
            .name("manifests".to_owned())
            .stack_size(STACK)
            .spawn(move || self.follow(&batches))
    }

    fn follow(&mut self, batches: &Sender<Batch>) {
        let mut folders = Folders::new();
        let mut options = ReadOptions::default();
        loop {
            folders.watch(&self.paths);
            if let Some(batch) = self.reread(&options)
                && batches.blocking_send(batch).is_err()
            {
                return;
            }
            if batches.is_closed() {
                return;
            }
            options = if self.is_holding {
                thread::sleep(HALF_WRITTEN_WAIT);
                ReadOptions {
                    is_patient: false,
                    ..options
                }
            } else {
                folders.wait(&self.paths)
            };
        }
    }
}

/// The folders in which events may concern the manifests.
struct Folders {
    /// None if the kernel cannot watch.
    watcher: Option<RecommendedWatcher>,
    events: Receiver<notify::Result<Event>>,
    /// With the folder's device and inode, to detect that another folder has replaced it.
    watched: BTreeMap<PathBuf, Stamp>,
    /// A relevant folder is not watched: it does not exist, or the kernel has no watch left.
    is_blind: bool,
}

impl Folders {
    fn new() -> Self {
        let (sender, events) = channel();
        let watcher = notify::recommended_watcher(sender)
            .inspect_err(|error| {
                tracing::warn!(
                    event = "source.manifests_not_watched",
                    %error,
                    "cannot watch manifests: checking them every second instead",
                );
            })
            .ok();
        Self {
            watcher,
            events,
            watched: BTreeMap::new(),
            is_blind: true,
        }
    }

    /// Watches the folders that are relevant now.
    fn watch(&mut self, paths: &[PathBuf]) {
        let Some(watcher) = &mut self.watcher else {
            return;
        };
        self.is_blind = false;
        let wanted: BTreeSet<PathBuf> = paths.iter().flat_map(|path| folders_of(path)).collect();
        self.watched.retain(|folder, _| wanted.contains(folder));
        for folder in wanted {
            let stamp = fs::metadata(&folder).ok().map(|m| Stamp::identity(&m));
            if stamp.is_some() && self.watched.get(&folder) == stamp.as_ref() {
                continue;
            }
            // An existing watch belongs to the previous folder at this path.
            self.watched.remove(&folder);
            let _ = watcher.unwatch(&folder);
            let Some(stamp) = stamp else {
                self.is_blind = true;
                continue;
            };
            match watcher.watch(&folder, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    self.watched.insert(folder, stamp);
                }
                Err(error) => {
                    self.is_blind = true;
                    tracing::debug!(
                        event = "source.folder_not_watched",
                        path = %folder.display(),
                        %error,
                        "cannot watch a folder: checking it every second instead",
                    );
                }
            }
        }
    }

    /// Records an event, and drops watches that may have ended with it.
    fn on_event(
        &mut self,
        event: notify::Result<Event>,
        paths: &[PathBuf],
        suspects: &mut BTreeSet<OsString>,
    ) {
        let is_watched = |path: &PathBuf| self.watched.contains_key(path);
        if let Ok(event) = &event
            && is_removal_or_rename(event.kind)
            && event.paths.iter().any(is_watched)
        {
            // The folder's replacement may have the same inode. All folders are watched again, because two paths may share a
            // watch.
            self.watched.clear();
            suspects.insert(OsString::new());
        }
        add_suspects(event, paths, suspects);
    }

    /// Waits for an event, and then until no more events arrive.
    fn wait(&mut self, paths: &[PathBuf]) -> ReadOptions {
        let mut suspects = BTreeSet::new();
        let recheck_after = if self.is_blind {
            RECHECK_UNWATCHED
        } else {
            RECHECK_EVERY
        };
        let until = Instant::now() + recheck_after;
        while suspects.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            match self.events.recv_timeout(left) {
                Ok(event) => self.on_event(event, paths, &mut suspects),
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => {
                    thread::sleep(left);
                    break;
                }
            }
        }
        let until = Instant::now() + LONGEST_BURST;
        while !suspects.is_empty() && Instant::now() < until {
            match self.events.recv_timeout(QUIET) {
                Ok(event) => self.on_event(event, paths, &mut suspects),
                Err(_) => break,
            }
        }
        ReadOptions {
            suspects,
            is_patient: true,
            may_wait: false,
        }
    }
}

/// Returns the folder itself, its parent, and for a link also the folder of its target.
fn folders_of(path: &Path) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    let Ok(path) = std::path::absolute(path) else {
        return folders;
    };
    folders.extend(path.parent().map(Path::to_owned));
    if path.is_dir() {
        folders.push(path);
    } else if path.is_symlink()
        && let Ok(target) = fs::canonicalize(&path)
    {
        folders.extend(target.parent().map(Path::to_owned));
    }
    folders
}

/// Whether something was removed or renamed.
const fn is_removal_or_rename(kind: EventKind) -> bool {
    matches!(
        kind,
        EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_))
    )
}

/// Records the file names of an event that may be relevant.
fn add_suspects(
    event: notify::Result<Event>,
    paths: &[PathBuf],
    suspects: &mut BTreeSet<OsString>,
) {
    let Ok(event) = event else {
        // The queue overflowed, or a watch failed: check everything.
        suspects.insert(OsString::new());
        return;
    };
    let is_noise = match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => false,
        EventKind::Access(_) => true,
        _ => false,
    };
    if is_noise {
        return;
    }
    if event.need_rescan() {
        suspects.insert(OsString::new());
    }
    for changed in &event.paths {
        if paths.iter().any(|path| concerns(path, changed)) {
            suspects.insert(changed.file_name().unwrap_or_default().to_owned());
        }
    }
}

/// Whether a change to one path may concern the manifests at the other.
fn concerns(path: &Path, changed: &Path) -> bool {
    let Ok(path) = std::path::absolute(path) else {
        return true;
    };
    // A change beside a folder is irrelevant. A change beside a file may concern a link on the way to it.
    changed == path || !path.is_dir() || changed.parent() == Some(&path)
}
