//! The definitions of each file, and the differences when the files are read again.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::path::PathBuf;

use super::definitions::Definitions;
use super::encoding::Decoded;
use super::file_text::{self, Unreadable};
use super::parse::{self, Parsed};
use super::paths::{self, FileKey, Stamp, display};
use crate::catalog::{Change, Object, ObjectId, Problem};
use crate::source::batch::{Batch, Listing};
use crate::source::client_kinds::ClientKinds;

/// A path that the user named is unreadable.
#[derive(Debug, thiserror::Error)]
#[error("cannot read manifests from {}: {error}; name a readable file or folder", path.display())]
pub struct OpenError {
    pub path: PathBuf,
    pub error: io::Error,
}

/// Files and folders with manifests; none by default.
#[derive(Debug, Default)]
pub struct Manifests {
    /// As given: files, and folders whose *.yaml, *.yml and *.json are read.
    pub(super) paths: Vec<PathBuf>,
    clients: ClientKinds,
    files: BTreeMap<FileKey, File>,
    definitions: Definitions,
    /// Objects that exist but are unreadable, without an earlier version.
    unread: BTreeSet<ObjectId>,
    /// Problems of paths and folders. Problems of a file are stored with the file.
    path_problems: Vec<Problem>,
    /// The same, for problems because of which nothing is missing.
    path_notes: Vec<Problem>,
    /// The problems in the last batch.
    reported: Vec<Problem>,
    /// A file looks half-written, and should be checked again soon.
    pub(super) is_holding: bool,
}

#[derive(Debug, Default)]
struct File {
    /// While it stays the same, the file need not be read again.
    stamp: Stamp,
    /// Of the text at the last read.
    hash: Option<u64>,
    objects: BTreeMap<ObjectId, Object>,
    problems: Vec<Problem>,
    /// A part of it was unreadable.
    is_broken: bool,
    /// Its unreadable objects.
    unread: BTreeSet<ObjectId>,
    skipped: usize,
}

/// Options for reading the files again.
#[derive(Debug, Default)]
pub(super) struct ReadOptions {
    /// Names of files to read even if their times and sizes look the same.
    pub(super) suspects: BTreeSet<OsString>,
    /// This time, leave a file that looks half-written as it was.
    pub(super) is_patient: bool,
    /// Wait for the contents of a pipe. Only set while nothing else depends on the result yet.
    pub(super) may_wait: bool,
}

impl Manifests {
    /// Reads all files for the first time, without the kinds of clients.
    ///
    /// # Errors
    /// As [`Self::open_with`].
    pub fn open(paths: Vec<PathBuf>) -> Result<(Self, Listing), OpenError> {
        Self::open_with(paths, ClientKinds::default())
    }

    /// Reads all files for the first time.
    ///
    /// Problems within a file, or with a file in a folder, are among the listing's problems.
    ///
    /// # Errors
    /// A path does not exist or cannot be opened.
    pub fn open_with(
        paths: Vec<PathBuf>,
        clients: ClientKinds,
    ) -> Result<(Self, Listing), OpenError> {
        for path in &paths {
            paths::probe(path).map_err(|error| OpenError {
                path: path.clone(),
                error,
            })?;
        }
        let mut manifests = Self {
            paths,
            clients,
            files: BTreeMap::new(),
            definitions: Definitions::default(),
            unread: BTreeSet::new(),
            path_problems: Vec::new(),
            path_notes: Vec::new(),
            reported: Vec::new(),
            is_holding: false,
        };
        let first = ReadOptions {
            may_wait: true,
            ..ReadOptions::default()
        };
        let batch = manifests.reread(&first).unwrap_or_default();
        let is_object = |change: &&Change| matches!(change, Change::Set(_));
        let listing = Listing {
            objects: batch.changes.iter().filter(is_object).count(),
            changes: batch.changes,
            problems: batch.problems,
            is_complete: manifests.is_complete(),
            files: manifests.files.len(),
            skipped: manifests.files.values().map(|f| f.skipped).sum(),
        };
        Ok((manifests, listing))
    }

    /// Reads the files that may have changed. None if nothing differs.
    pub(super) fn reread(&mut self, options: &ReadOptions) -> Option<Batch> {
        self.is_holding = false;
        let found = paths::find(&self.paths);
        let is_gone = |key: &FileKey| {
            !found.files.contains_key(key) && !found.unreadable.contains(&key.given)
        };
        let gone: Vec<FileKey> = self.files.keys().filter(|k| is_gone(k)).cloned().collect();
        if options.is_patient && !gone.is_empty() {
            self.is_holding = true;
        } else {
            self.path_problems = found.problems;
            self.path_notes = found.notes;
            for key in gone {
                if let Some(file) = self.files.remove(&key) {
                    self.definitions
                        .replace(&key, &file.objects, &BTreeMap::new());
                }
            }
        }
        for (key, stamp) in found.files {
            self.read_file(key, stamp, options);
        }
        self.batch()
    }

    /// Returns the changes since the last call. None if nothing differs.
    fn batch(&mut self) -> Option<Batch> {
        let mut changes = self.definitions.take_changes();
        changes.extend(self.unread_changes());
        let problems = self.problems();
        if changes.is_empty() && problems == self.reported {
            return None;
        }
        self.reported.clone_from(&problems);
        Some(Batch {
            changes,
            problems,
            has_listed: true,
            is_complete: self.is_complete(),
            received: None,
        })
    }

    fn read_file(&mut self, key: FileKey, stamp: Stamp, options: &ReadOptions) {
        let file = self.files.entry(key.clone()).or_default();
        let is_suspect = || {
            let name = key.path.file_name();
            !stamp.is_stream && name.is_some_and(|name| options.suspects.contains(name))
        };
        let is_known = stamp != Stamp::default();
        if is_known && file.stamp == stamp && !is_suspect() {
            return;
        }
        file.stamp = stamp;
        let text = file_text::read(&key.path, stamp.is_stream && options.may_wait);
        self.apply_text(key, text, options.is_patient);
    }

    /// Applies a file's new text.
    fn apply_text(&mut self, key: FileKey, text: Result<Decoded, Unreadable>, is_patient: bool) {
        let file = self.files.entry(key.clone()).or_default();
        let text = match text {
            Ok(text) => text,
            Err(error) => {
                file.hash = None;
                file.is_broken = true;
                file.problems = vec![Problem {
                    object: display(&key.path),
                    message: error.line(!file.objects.is_empty()),
                }];
                return;
            }
        };
        let hash = hash(&text);
        if file.hash == Some(hash) {
            return;
        }
        let mut parsed = parse::text(&key.path, &text.text, self.clients, &file.objects);
        let looks_half_written = parsed.is_broken || text.text.is_empty() || text.is_cut();
        if is_patient && looks_half_written && !file.objects.is_empty() {
            file.stamp = Stamp::default();
            self.is_holding = true;
            return;
        }
        file.hash = Some(hash);
        file.keep_previous_objects(&mut parsed);
        self.definitions
            .replace(&key, &file.objects, &parsed.objects);
        file.objects = parsed.objects;
        let flaw = text.flaw.map(|flaw| Problem {
            object: display(&key.path),
            message: flaw.to_string(),
        });
        file.problems = flaw.into_iter().chain(parsed.problems).collect();
        file.unread = parsed.unread;
        file.skipped = parsed.skipped;
        file.is_broken = parsed.is_broken;
    }

    /// Acts as if a file of that name with this content had been read.
    #[cfg(feature = "fuzzing")]
    pub fn apply_file(
        &mut self,
        path: &std::path::Path,
        bytes: Vec<u8>,
        is_patient: bool,
    ) -> Option<Batch> {
        let key = FileKey {
            given: 0,
            path: path.to_owned(),
        };
        self.apply_text(key, Ok(super::encoding::decode(bytes)), is_patient);
        self.batch()
    }

    /// Returns the objects that became unreadable, and the unreadable ones that were removed.
    fn unread_changes(&mut self) -> Vec<Change> {
        let is_defined = |id: &&ObjectId| self.definitions.defines(id);
        let found = self.files.values().flat_map(|file| &file.unread);
        let unread: BTreeSet<ObjectId> = found.filter(|id| !is_defined(id)).cloned().collect();
        let new = unread.difference(&self.unread).cloned();
        let gone = self.unread.difference(&unread);
        let gone = gone.filter(|id| !is_defined(id)).cloned();
        let changes = new.map(Change::Unread).chain(gone.map(Change::Remove));
        let changes = changes.collect();
        self.unread = unread;
        changes
    }

    /// Whether every path, file and document was readable.
    fn is_complete(&self) -> bool {
        self.path_problems.is_empty() && !self.files.values().any(|file| file.is_broken)
    }

    /// Returns all current problems, in the order of the files.
    fn problems(&self) -> Vec<Problem> {
        let of_files = self.files.values().flat_map(|file| &file.problems);
        let of_paths = self.path_problems.iter().chain(&self.path_notes);
        let found = of_paths.chain(of_files).cloned();
        found.chain(self.definitions.problems()).collect()
    }
}

impl File {
    /// Keeps the previous objects of a file with an error: the error may hide those that are missing.
    fn keep_previous_objects(&self, parsed: &mut Parsed) {
        if !parsed.is_broken {
            return;
        }
        for (id, object) in &self.objects {
            let kept = parsed.objects.entry(id.clone());
            kept.or_insert_with(|| object.clone());
        }
    }
}

fn hash(text: &Decoded) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}
