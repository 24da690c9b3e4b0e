//! Looks at the manifests again when the kernel says that something happened to them.
//!
//! Folders are watched, never files: editors replace a file by renaming another over it, and a mounted ConfigMap
//! swaps a link beside it. An unhurried look now and then covers file systems that say nothing (network mounts).

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
use super::{Batch, Manifests, ReadOptions};

/// Changes that come together are looked at together.
const QUIET: Duration = Duration::from_millis(20);
/// However long they go on, a look is taken after this.
const LONGEST: Duration = Duration::from_millis(60);
/// How long a file that looks half-written gets to become whole.
const PATIENCE: Duration = Duration::from_millis(30);
/// Between looks that nothing asked for.
const UNASKED: Duration = Duration::from_secs(10);
/// The same, when the kernel gives no events.
const UNASKED_BLIND: Duration = Duration::from_secs(1);

/// In bytes, like a process's first thread: a document may be deep (`yaml`), and a debug build takes 20 kB for each level.
pub(super) const STACK: usize = 8 << 20;

impl Manifests {
    /// Sends what differs, from a thread of its own, until nobody receives.
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
                thread::sleep(PATIENCE);
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

/// The folders in which something may happen to the manifests.
struct Folders {
    /// None where the kernel cannot watch.
    watcher: Option<RecommendedWatcher>,
    events: Receiver<notify::Result<Event>>,
    /// With the folder's device and inode, to notice when another stands in its place.
    watched: BTreeMap<PathBuf, Stamp>,
    /// A folder that matters is not watched: it is not there, or the kernel has no watch left.
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

    /// Watches the folders that matter now.
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
            // A watch that is left is of what stood there before.
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

    /// Takes note of an event, and of watches that may have gone with it.
    fn hear(
        &mut self,
        event: notify::Result<Event>,
        paths: &[PathBuf],
        suspects: &mut BTreeSet<OsString>,
    ) {
        let is_watched = |path: &PathBuf| self.watched.contains_key(path);
        if let Ok(event) = &event
            && is_move(event.kind)
            && event.paths.iter().any(is_watched)
        {
            // What stands there next may have the same inode. All are watched anew: two paths may share a watch.
            self.watched.clear();
            suspects.insert(OsString::new());
        }
        note(event, paths, suspects);
    }

    /// Waits until something happened and it is quiet again.
    fn wait(&mut self, paths: &[PathBuf]) -> ReadOptions {
        let mut suspects = BTreeSet::new();
        let unasked = if self.is_blind {
            UNASKED_BLIND
        } else {
            UNASKED
        };
        let until = Instant::now() + unasked;
        while suspects.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            match self.events.recv_timeout(left) {
                Ok(event) => self.hear(event, paths, &mut suspects),
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => {
                    thread::sleep(left);
                    break;
                }
            }
        }
        let until = Instant::now() + LONGEST;
        while !suspects.is_empty() && Instant::now() < until {
            match self.events.recv_timeout(QUIET) {
                Ok(event) => self.hear(event, paths, &mut suspects),
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

/// The folder itself, the one it stands in, and for a link also the one it leads to.
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

/// Whether something has gone from where it was, or come there.
const fn is_move(kind: EventKind) -> bool {
    matches!(
        kind,
        EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_))
    )
}

/// Notes the names of what an event speaks of, if it may matter.
fn note(event: notify::Result<Event>, paths: &[PathBuf], suspects: &mut BTreeSet<OsString>) {
    let Ok(event) = event else {
        // The queue ran over, or a watch broke: look at everything.
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

/// Whether a change to one path may be one to the manifests at the other.
fn concerns(path: &Path, changed: &Path) -> bool {
    let Ok(path) = std::path::absolute(path) else {
        return true;
    };
    // What stands beside a folder is no business of ours; beside a file it may be a link on the way to it.
    changed == path || !path.is_dir() || changed.parent() == Some(&path)
}
