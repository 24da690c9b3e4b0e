//! The folder in which maps and links outlive the agent.
//!
//! `<pin-dir>/links/` has the hooks' links, `<pin-dir>/tables-v1/` the tables (`sets.rs` knows which others there may be),
//! `<pin-dir>/origins-v1/` has ORIGINS and what belongs to it. The folder itself is locked (flock) by the agent that writes
//! the tables.

use std::fs::{self, DirBuilder, File, Metadata};
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use aya::maps::MapInfo;
use lb_common::ORIGINS_VERSION;
use rustix::fs::{FlockOperation, flock, statfs};
use rustix::io::{Errno, retry_on_intr};

use super::sets::TableSet;
use super::shapes::{Room, Shape};
use super::{KernelError, holder, host, owner, sets, sys};

/// linux/magic.h: BPF_FS_MAGIC.
const BPFFS_MAGIC: i64 = 0xcafe_4a11;

/// The pin folder, locked for as long as this lives.
#[derive(Debug)]
pub struct Pins {
    folder: PathBuf,
    /// Its lock ends with the process, however that ends.
    lock: File,
}

impl Pins {
    /// Makes the folder if need be, and locks it; [`KernelError::Locked`] when somebody has it. The tables' own folder is not
    /// made here.
    pub fn open(folder: &Path) -> Result<Self, KernelError> {
        check_bpffs(folder)?;
        Self::locked(
            folder,
            lock(folder, FlockOperation::NonBlockingLockExclusive)?,
        )
    }

    /// As [`Self::open`], but waits until nobody has it, however long that takes.
    pub fn wait(folder: &Path) -> Result<Self, KernelError> {
        check_bpffs(folder)?;
        Self::locked(folder, lock(folder, FlockOperation::LockExclusive)?)
    }

    fn locked(folder: &Path, lock: File) -> Result<Self, KernelError> {
        let pins = Self {
            folder: folder.to_owned(),
            lock,
        };
        sets::refuse_newer_origins(folder)?;
        for room in [pins.links(), pins.origins()] {
            make(&room)?;
        }
        Ok(pins)
    }

    /// Makes the folder anew and locks it, if it is not the one any more that is locked. Returns whether that was so.
    pub fn restore(&mut self) -> Result<bool, KernelError> {
        let identity = |data: &fs::Metadata| (data.dev(), data.ino());
        let locked = self.lock.metadata();
        let locked = locked.map_err(|error| failed(&self.folder, error))?;
        let is_new = match fs::metadata(&self.folder) {
            Ok(now) => identity(&now) != identity(&locked),
            Err(error) if error.kind() == io::ErrorKind::NotFound => true,
            Err(error) => return Err(failed(&self.folder, error)),
        };
        if is_new {
            check_bpffs(&self.folder)?;
            self.lock = lock(&self.folder, FlockOperation::NonBlockingLockExclusive)?;
        }
        let tables = TableSet::ours(&self.folder).folder;
        for room in [self.links(), self.origins(), tables] {
            make(&room)?;
        }
        Ok(is_new)
    }

    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where a map is pinned.
    pub fn map(&self, shape: &Shape) -> PathBuf {
        self.map_of(&TableSet::ours(&self.folder), shape)
    }

    /// Where a map of this set of tables is pinned; ORIGINS and what belongs to it are in all of them.
    pub fn map_of(&self, set: &TableSet, shape: &Shape) -> PathBuf {
        match shape.room {
            Room::Tables => set.folder.join(shape.name),
            Room::Origins => self.origins().join(shape.name),
        }
    }

    /// Where the link of a hook is pinned.
    pub fn link(&self, hook: &str) -> PathBuf {
        self.links().join(format!("{LINK}{hook}"))
    }

    /// What is pinned at a path, if anything is.
    pub fn existing(&self, path: &Path) -> Result<Option<MapInfo>, KernelError> {
        match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(path, error)),
            Ok(_) => MapInfo::from_pin(path)
                .map(Some)
                .map_err(|error| failed(path, io::Error::other(error))),
        }
    }

    /// The folder of the links.
    pub fn links(&self) -> PathBuf {
        self.folder.join(LINKS)
    }

    /// The folder of ORIGINS and what belongs to it.
    pub fn origins(&self) -> PathBuf {
        self.folder
            .join(format!("{}{ORIGINS_VERSION}", sets::ORIGINS))
    }
}

const LINKS: &str = "links";
/// What the names of links begin with.
const LINK: &str = "link_";

/// What [`unload`] took away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unloaded {
    pub links: usize,
    pub maps: usize,
}

/// Takes the data path away: first the links, which detaches the programs, then the maps, then the folder.
///
/// Takes nothing that is not ours, and of ours every version. None when there is no such folder.
pub fn unload(folder: &Path) -> Result<Option<Unloaded>, KernelError> {
    check_bpffs(folder)?;
    if !folder.exists() {
        return Ok(None);
    }
    let held = lock(folder, FlockOperation::NonBlockingLockExclusive)?;
    let mut rooms = Vec::new();
    for entry in list(folder)? {
        let name = entry.file_name().unwrap_or_default().to_string_lossy();
        if name == LINKS || name.starts_with(sets::TABLES) || name.starts_with(sets::ORIGINS) {
            rooms.push(entry);
        }
    }
    let mut pins = Vec::new();
    for room in &rooms {
        pins.extend(list(room)?);
    }
    let begins_with = |path: &PathBuf, beginning| {
        path.file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with(beginning))
    };
    let (links, others): (Vec<PathBuf>, Vec<PathBuf>) =
        pins.into_iter().partition(|path| begins_with(path, LINK));
    let (programs, maps): (Vec<PathBuf>, Vec<PathBuf>) = others
        .into_iter()
        .partition(|path| begins_with(path, sets::PROGRAM));
    for link in &links {
        sys::object_at(link)
            .and_then(|link| sys::detach_link(link.as_fd()))
            .map_err(|error| failed(link, error))?;
    }
    for pin in links.iter().chain(&programs).chain(&maps) {
        fs::remove_file(pin).map_err(|error| failed(pin, error))?;
    }
    for room in &rooms {
        fs::remove_dir(room).map_err(|error| failed(room, error))?;
    }
    // Whoever put something else into the folder keeps it.
    if list(folder)?.is_empty() {
        fs::remove_dir(folder).map_err(|error| failed(folder, error))?;
    }
    drop(held);
    Ok(Some(Unloaded {
        links: links.len(),
        maps: maps.len(),
    }))
}

pub fn list(folder: &Path) -> Result<Vec<PathBuf>, KernelError> {
    let entries = fs::read_dir(folder).map_err(|error| failed(folder, error))?;
    entries
        .map(|entry| Ok(entry.map_err(|error| failed(folder, error))?.path()))
        .collect()
}

/// The folder, or the nearest one above it that is there, must be on a BPF file system, and on the host's.
fn check_bpffs(folder: &Path) -> Result<(), KernelError> {
    let parent = folder
        .ancestors()
        .find(|parent| parent.exists())
        .unwrap_or_else(|| Path::new("/"));
    let kind = statfs(parent).map_err(|error| failed(parent, error.into()))?;
    if kind.f_type == BPFFS_MAGIC {
        return host::check(folder, parent);
    }
    Err(KernelError::NoBpffs {
        path: folder.to_owned(),
        parent: parent.to_owned(),
    })
}

fn lock(folder: &Path, how: FlockOperation) -> Result<File, KernelError> {
    loop {
        make(folder)?;
        let file = File::open(folder).map_err(|error| failed(folder, error))?;
        match retry_on_intr(|| flock(&file, how)) {
            Ok(()) if is_still_there(folder, &file) => return Ok(file),
            // Whoever had it took it away.
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                return Err(KernelError::Locked {
                    path: folder.to_owned(),
                    holder: holder::of(folder),
                });
            }
            Err(error) => return Err(failed(folder, error.into())),
        }
    }
}

fn is_still_there(folder: &Path, file: &File) -> bool {
    let identity = |folder: Metadata| (folder.dev(), folder.ino());
    let now = fs::metadata(folder).map(identity).ok();
    now.is_some() && now == file.metadata().map(identity).ok()
}

/// Makes a folder that is root's alone, and refuses one that is not.
pub fn make(folder: &Path) -> Result<(), KernelError> {
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700);
    owner::check_found(folder)
        .and_then(|()| builder.create(folder))
        .and_then(|()| owner::check(folder))
        .map_err(|error| failed(folder, error))
}

pub fn failed(path: &Path, error: io::Error) -> KernelError {
    KernelError::Pin {
        path: path.to_owned(),
        error,
    }
}
