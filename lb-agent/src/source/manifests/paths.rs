//! Finds the files, as `kubectl -f` does: a file itself, and the *.yaml, *.yml and *.json of a folder, without its subfolders.
//!
//! A path that the user names may be a pipe or `/dev/stdin`. In a folder only regular files count: reading a FIFO there would
//! block until a process writes to it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::catalog::Problem;
use crate::counted::counted;

/// A file. The order is that in which kubectl would apply the files.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FileKey {
    /// The index of the given path at which it was found.
    pub(super) given: usize,
    pub(super) path: PathBuf,
}

/// The metadata that shows a change of a file without reading it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    /// Seconds and nanoseconds.
    modified: (i64, i64),
    /// Seconds and nanoseconds.
    changed: (i64, i64),
    /// Not a regular file: it can be read only once, and reading may block.
    pub(super) is_stream: bool,
}

/// All files found.
#[derive(Debug, Default)]
pub(super) struct PathScan {
    pub(super) files: BTreeMap<FileKey, Stamp>,
    /// Given paths that exist but are unreadable. Their previous contents stay in effect.
    pub(super) unreadable: BTreeSet<usize>,
    pub(super) problems: Vec<Problem>,
    /// Notes about ignored files. Nothing is missing because of them.
    pub(super) notes: Vec<Problem>,
}

/// The files found so far, by device and inode.
type Seen = HashMap<(u64, u64), FileKey>;

/// Checks that a path is readable at all.
pub(super) fn probe(path: &Path) -> io::Result<()> {
    let metadata = fs::metadata(path)?;
    if metadata.is_dir() {
        fs::read_dir(path)?;
    } else if metadata.is_file() {
        fs::File::open(path)?;
    }
    Ok(())
}

/// Finds the files at the given paths. A file that is found twice counts once, at the last place: kubectl applies it there
/// last.
pub(super) fn find(given: &[PathBuf]) -> PathScan {
    let mut found = PathScan::default();
    let mut seen = Seen::new();
    for (index, path) in given.iter().enumerate() {
        let listed = fs::metadata(path).and_then(|metadata| {
            if metadata.is_dir() {
                found.add_folder(index, path, &mut seen)
            } else {
                found.add_file(index, path.clone(), &metadata, &mut seen);
                Ok(())
            }
        });
        let Err(error) = listed else { continue };
        let message = if error.kind() == io::ErrorKind::NotFound {
            "no longer exists, and its objects were removed: restore it".to_owned()
        } else {
            found.unreadable.insert(index);
            format!(
                "cannot be read: {error}; its last readable contents stay in effect: make it readable"
            )
        };
        found.problems.push(Problem {
            object: display(path),
            message,
        });
    }
    found
}

impl PathScan {
    fn add_folder(&mut self, index: usize, folder: &Path, seen: &mut Seen) -> io::Result<()> {
        let mut paths = BTreeSet::new();
        let mut others = Others::default();
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if is_manifest(&path) {
                paths.insert(path);
            } else {
                others.count(&path);
            }
        }
        let (folders, paths): (Vec<_>, Vec<_>) = paths.into_iter().partition(|path| path.is_dir());
        others.folders += folders.len();
        let has_manifests = !paths.is_empty();
        for path in paths {
            match fs::metadata(&path) {
                Ok(metadata) if metadata.is_file() => self.add_file(index, path, &metadata, seen),
                Ok(_) => self.notes.push(Problem {
                    object: display(&path),
                    message: "is not a regular file: skipped".to_owned(),
                }),
                // It was removed after the listing, or is a broken link. Reading it will report the error.
                Err(_) if path.is_symlink() => {
                    let key = FileKey { given: index, path };
                    self.files.insert(key, Stamp::default());
                }
                Err(_) => {}
            }
        }
        if let Some(message) = others.line().filter(|_| !has_manifests) {
            let object = display(folder);
            self.notes.push(Problem { object, message });
        }
        Ok(())
    }

    fn add_file(&mut self, given: usize, path: PathBuf, metadata: &Metadata, seen: &mut Seen) {
        let key = FileKey { given, path };
        let earlier = seen.insert((metadata.dev(), metadata.ino()), key.clone());
        if let Some(earlier) = earlier {
            self.files.remove(&earlier);
        }
        self.files.insert(key, Stamp::of(metadata));
    }
}

impl Stamp {
    /// Only the fields that identify the file or folder, independent of its contents.
    pub(super) fn identity(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            is_stream: !metadata.is_file(),
            ..Self::default()
        }
    }

    /// The times of a stream change with every write, so only a different stream counts as a change.
    fn of(metadata: &Metadata) -> Self {
        let identity = Self::identity(metadata);
        if !metadata.is_file() {
            return identity;
        }
        Self {
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            ..identity
        }
    }
}

/// Counts the other files in a folder, to explain why nothing is read from it.
#[derive(Debug, Default)]
struct Others {
    files: usize,
    folders: usize,
}

impl Others {
    fn count(&mut self, path: &Path) {
        if is_hidden(path) {
            return;
        }
        if path.is_dir() {
            self.folders += 1;
        } else {
            self.files += 1;
        }
    }

    fn line(&self) -> Option<String> {
        let not_read = match (self.folders, self.files) {
            (0, 0) => return None,
            (0, files) => format!("skipped: {}", counted(files, "other file")),
            (folders, 0) => format!("not searched: {}", counted(folders, "subfolder")),
            (folders, files) => format!(
                "not searched: {}; skipped: {}",
                counted(folders, "subfolder"),
                counted(files, "other file")
            ),
        };
        Some(format!(
            "has no *.yaml, *.yml or *.json itself ({not_read}): name the folders that contain them"
        ))
    }
}

/// Editors keep their own files hidden.
fn is_hidden(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default();
    name.as_encoded_bytes().starts_with(b".")
}

fn is_manifest(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default();
    !is_hidden(path) && ["yaml", "yml", "json"].iter().any(|e| extension == *e)
}

/// A path in a problem.
pub(super) fn display(path: &Path) -> String {
    path.display().to_string()
}
