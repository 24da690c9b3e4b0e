//! The folder whose maps and links outlive the agent.
//!
//! `<pin-dir>/links/` contains the links of the hooks. `<pin-dir>/tables-v1/` contains the tables; `table_set.rs` lists
//! the other possible sets. `<pin-dir>/origins-v1/` contains ORIGINS and its companion maps. The agent that writes the
//! tables holds a lock (flock) on the folder itself.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use aya::maps::MapInfo;
use lb_common::ORIGINS_VERSION;
use rustix::fs::FlockOperation;

use super::folders::make;
use super::lock::{check_bpffs, lock};
use super::table_set::{ORIGINS, TableSet, refuse_newer_origins};
use crate::kernel::bpf::loader::MapPin;
use crate::kernel::maps::hash::io_error;
use crate::kernel::maps::lengths::Lengths;
use crate::kernel::maps::shapes::{Shape, Subfolder, all};
use crate::kernel::maps::sizes::Sizes;
use crate::kernel::node::error::KernelError;

/// The folder of the links.
pub const LINKS: &str = "links";

/// The pin folder, locked as long as this value exists.
#[derive(Debug)]
pub struct Pins {
    folder: PathBuf,
    /// The kernel releases the lock when the process ends, in whatever way.
    lock: File,
}

impl Pins {
    /// Makes the folder if necessary, and locks it. Returns [`KernelError::Locked`] if another process holds the lock.
    /// Does not make the folder of the tables.
    pub fn open(folder: &Path) -> Result<Self, KernelError> {
        check_bpffs(folder)?;
        Self::locked(
            folder,
            lock(folder, FlockOperation::NonBlockingLockExclusive)?,
        )
    }

    /// Does the same as [`Self::open`], but waits until the lock is free, however long that takes.
    pub fn wait(folder: &Path) -> Result<Self, KernelError> {
        check_bpffs(folder)?;
        Self::locked(folder, lock(folder, FlockOperation::LockExclusive)?)
    }

    fn locked(folder: &Path, lock: File) -> Result<Self, KernelError> {
        let pins = Self {
            folder: folder.to_owned(),
            lock,
        };
        refuse_newer_origins(folder)?;
        for folder in [pins.links(), pins.origins()] {
            make(&folder)?;
        }
        Ok(pins)
    }

    /// If the path no longer leads to the locked folder, makes the folder again and locks it. Returns whether it did.
    pub fn restore(&mut self) -> Result<bool, KernelError> {
        let identity = |data: &fs::Metadata| (data.dev(), data.ino());
        let locked = self.lock.metadata();
        let failed = KernelError::pin("check the pin folder", &self.folder);
        let locked = locked.map_err(&failed)?;
        let is_new = match fs::metadata(&self.folder) {
            Ok(now) => identity(&now) != identity(&locked),
            Err(error) if error.kind() == io::ErrorKind::NotFound => true,
            Err(error) => return Err(failed(error)),
        };
        if is_new {
            check_bpffs(&self.folder)?;
            self.lock = lock(&self.folder, FlockOperation::NonBlockingLockExclusive)?;
        }
        let tables = TableSet::ours(&self.folder).folder;
        for folder in [self.links(), self.origins(), tables] {
            make(&folder)?;
        }
        Ok(is_new)
    }

    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The path of a map's pin.
    pub fn map(&self, shape: &Shape) -> PathBuf {
        self.map_of(&TableSet::ours(&self.folder), shape)
    }

    /// The path of a map's pin in this set of tables. All sets share ORIGINS and its companion maps.
    pub fn map_of(&self, set: &TableSet, shape: &Shape) -> PathBuf {
        match shape.subfolder {
            Subfolder::Tables => set.folder.join(shape.name),
            Subfolder::Origins => self.origins().join(shape.name),
        }
    }

    /// The lengths of the existing maps of a set. Fails if one of them has another shape.
    pub fn lengths(&self, set: &TableSet) -> Result<Lengths, KernelError> {
        let mut lengths = Vec::new();
        for shape in all(Sizes::default()) {
            if let Some(length) = length(&self.folder, &shape, &self.map_of(set, &shape))? {
                lengths.push((shape.name, length));
            }
        }
        Ok(lengths.into_iter().collect())
    }

    /// The paths of the pins of a set's maps, whether they exist or not. Fails if an existing map has another shape.
    pub fn map_pins(&self, set: &TableSet, shapes: &[Shape]) -> Result<Vec<MapPin>, KernelError> {
        let pin = |shape: &Shape| {
            let path = self.map_of(set, shape);
            Ok(MapPin {
                name: shape.name,
                length: length(&self.folder, shape, &path)?.unwrap_or(shape.length),
                path: Some(path),
            })
        };
        shapes.iter().map(pin).collect()
    }

    /// The map that is pinned at a path, if any.
    pub fn existing(&self, path: &Path) -> Result<Option<MapInfo>, KernelError> {
        existing(path)
    }

    /// The folder of the links.
    pub fn links(&self) -> PathBuf {
        self.folder.join(LINKS)
    }

    /// The folder of ORIGINS and its companion maps.
    pub fn origins(&self) -> PathBuf {
        self.folder.join(format!("{}{ORIGINS_VERSION}", ORIGINS))
    }
}

/// The length of the map at a path, if there is one. Fails if the map differs from the shape in anything but the length.
///
/// `pin_dir`: the pin folder, which the error names.
pub fn length(pin_dir: &Path, shape: &Shape, path: &Path) -> Result<Option<u32>, KernelError> {
    let Some(info) = existing(path)? else {
        return Ok(None);
    };
    match shape.mismatch(&info) {
        None => Ok(Some(info.max_entries())),
        Some((found, wanted)) => Err(KernelError::Shape {
            path: path.to_owned(),
            pin_dir: pin_dir.to_owned(),
            found,
            wanted,
        }),
    }
}

/// The map that is pinned at a path, if any.
fn existing(path: &Path) -> Result<Option<MapInfo>, KernelError> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(KernelError::pin("find the pin", path)(error)),
        Ok(_) => MapInfo::from_pin(path)
            .map(Some)
            .map_err(|error| KernelError::pin("open the pinned map", path)(io_error(error))),
    }
}
