//! Manifests as a source: remembers what each file defines, and gives what differs when it reads again.
//!
//! `paths` finds the files, `file_text` reads and `encoding` decodes them, `document` splits them (`yaml` and `tree` read one document),
//! `parse` makes objects of them (`document_kind` finds their kinds, `strict` checks their types), `definitions` settles which file
//! counts for an object, `watch` says when to look. A file that breaks keeps the objects that it last had: a typing
//! error must not take a Service away.

mod definitions;
mod document;
mod document_kind;
mod encoding;
mod file_text;
mod parse;
mod paths;
mod strict;
#[cfg(test)]
mod tests;
mod tree;
mod watch;
mod yaml;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::path::{Path, PathBuf};

use self::definitions::Definitions;
use self::encoding::Decoded;
use self::file_text::Unreadable;
use self::parse::Parsed;
use self::paths::{FileKey, Stamp};
use super::{Batch, Listing};
use crate::catalog::{Change, Object, ObjectId, Problem};

/// A path that was asked for cannot be read at all.
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
    paths: Vec<PathBuf>,
    files: BTreeMap<FileKey, File>,
    definitions: Definitions,
    /// Objects that are there, of which nothing is known since they cannot be read.
    unread: BTreeSet<ObjectId>,
    /// About paths and folders; what is about a file is with the file.
    path_problems: Vec<Problem>,
    /// The same, where nothing is missing for it.
    path_notes: Vec<Problem>,
    /// The problems that were last handed out.
    reported: Vec<Problem>,
    /// A file looks half-written: worth another look soon.
    is_holding: bool,
}

#[derive(Debug, Default)]
struct File {
    /// While it stays the same the file need not be read again.
    stamp: Stamp,
    /// Of the text that was read last.
    hash: Option<u64>,
    objects: BTreeMap<ObjectId, Object>,
    problems: Vec<Problem>,
    /// Something in it could not be read.
    is_broken: bool,
    /// Objects in it that could not be read.
    unread: BTreeSet<ObjectId>,
    passed_over: usize,
}

/// How to read again.
#[derive(Debug, Default)]
struct ReadOptions {
    /// Names of files to read even if their times and sizes look the same.
    suspects: BTreeSet<OsString>,
    /// Leave a file that looks half-written as it was, this time.
    is_patient: bool,
    /// Wait for what a pipe has to say: only before anything else depends on it.
    may_wait: bool,
}

impl Manifests {
    /// Reads all files a first time.
    ///
    /// What is wrong within a file, or with a file in a folder, is among the listing's problems.
    ///
    /// # Errors
    /// A path that does not exist or cannot be opened.
    pub fn open(paths: Vec<PathBuf>) -> Result<(Self, Listing), OpenError> {
        for path in &paths {
            paths::probe(path).map_err(|error| OpenError {
                path: path.clone(),
                error,
            })?;
        }
        let mut manifests = Self {
            paths,
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
            passed_over: manifests.files.values().map(|f| f.passed_over).sum(),
        };
        Ok((manifests, listing))
    }

    /// Reads what may have changed; none when nothing differs.
    fn reread(&mut self, options: &ReadOptions) -> Option<Batch> {
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

    /// What has changed since the last call; none when nothing differs.
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
            heard: None,
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
        self.take_text(key, text, options.is_patient);
    }

    /// Takes over what a file says.
    fn take_text(&mut self, key: FileKey, text: Result<Decoded, Unreadable>, is_patient: bool) {
        let file = self.files.entry(key.clone()).or_default();
        let text = match text {
            Ok(text) => text,
            Err(error) => {
                file.hash = None;
                file.is_broken = true;
                file.problems = vec![Problem {
                    object: shown(&key.path),
                    message: error.line(!file.objects.is_empty()),
                }];
                return;
            }
        };
        let hash = hash(&text);
        if file.hash == Some(hash) {
            return;
        }
        let mut parsed = parse::text(&key.path, &text.text, &file.objects);
        let looks_half_written = parsed.is_broken || text.text.is_empty() || text.is_cut();
        if is_patient && looks_half_written && !file.objects.is_empty() {
            file.stamp = Stamp::default();
            self.is_holding = true;
            return;
        }
        file.hash = Some(hash);
        file.keep_what_broke(&mut parsed);
        self.definitions
            .replace(&key, &file.objects, &parsed.objects);
        file.objects = parsed.objects;
        let flaw = text.flaw.map(|flaw| Problem {
            object: shown(&key.path),
            message: flaw.to_string(),
        });
        file.problems = flaw.into_iter().chain(parsed.problems).collect();
        file.unread = parsed.unread;
        file.passed_over = parsed.passed_over;
        file.is_broken = parsed.is_broken;
    }

    /// As if a file of that name had been read, and had said this.
    #[cfg(feature = "fuzzing")]
    pub fn hear(&mut self, path: &Path, bytes: Vec<u8>, is_patient: bool) -> Option<Batch> {
        let key = FileKey {
            given: 0,
            path: path.to_owned(),
        };
        self.take_text(key, Ok(encoding::decode(bytes)), is_patient);
        self.batch()
    }

    /// What has become unreadable, and what was and is gone.
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

    /// Whether every path, file and document could be read.
    fn is_complete(&self) -> bool {
        self.path_problems.is_empty() && !self.files.values().any(|file| file.is_broken)
    }

    /// All that is wrong now, in the order of the files.
    fn problems(&self) -> Vec<Problem> {
        let of_files = self.files.values().flat_map(|file| &file.problems);
        let of_paths = self.path_problems.iter().chain(&self.path_notes);
        let found = of_paths.chain(of_files).cloned();
        found.chain(self.definitions.problems()).collect()
    }
}

impl File {
    /// In a file with an error, what is missing may be what the error hides.
    fn keep_what_broke(&self, parsed: &mut Parsed) {
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

fn shown(path: &Path) -> String {
    path.display().to_string()
}
