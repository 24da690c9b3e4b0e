//! The folder in which maps and links outlive the agent.
//!
//! `<pin-dir>/links/` has the hooks' links, `<pin-dir>/tables-v1/` the tables (`table_set.rs` knows which others there may be),
//! `<pin-dir>/origins-v1/` has ORIGINS and what belongs to it. The folder itself is locked (flock) by the agent that writes
//! the tables.

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
        refuse_newer_origins(folder)?;
        for folder in [pins.links(), pins.origins()] {
            make(&folder)?;
        }
        Ok(pins)
    }

    /// Makes the folder anew and locks it, if it is not the one any more that is locked. Returns whether that was so.
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

    /// Where a map is pinned.
    pub fn map(&self, shape: &Shape) -> PathBuf {
        self.map_of(&TableSet::ours(&self.folder), shape)
    }

    /// Where a map of this set of tables is pinned; ORIGINS and what belongs to it are in all of them.
    pub fn map_of(&self, set: &TableSet, shape: &Shape) -> PathBuf {
        match shape.subfolder {
            Subfolder::Tables => set.folder.join(shape.name),
            Subfolder::Origins => self.origins().join(shape.name),
        }
    }

    /// The lengths of those of a set's maps that are there, which must be such maps.
    pub fn lengths(&self, set: &TableSet) -> Result<Lengths, KernelError> {
        let mut lengths = Vec::new();
        for shape in all(Sizes::default()) {
            if let Some(length) = self.length(&shape, &self.map_of(set, &shape))? {
                lengths.push((shape.name, length));
            }
        }
        Ok(lengths.into_iter().collect())
    }

    /// Where a set's maps are pinned, or are to be; those that are there must be such maps.
    pub fn map_pins(&self, set: &TableSet, shapes: &[Shape]) -> Result<Vec<MapPin>, KernelError> {
        let pin = |shape: &Shape| {
            let path = self.map_of(set, shape);
            Ok(MapPin {
                name: shape.name,
                length: self.length(shape, &path)?.unwrap_or(shape.length),
                path,
            })
        };
        shapes.iter().map(pin).collect()
    }

    /// The length of the map at a path, if there is one, which must be such a map, of whatever length.
    fn length(&self, shape: &Shape, path: &Path) -> Result<Option<u32>, KernelError> {
        let Some(info) = self.existing(path)? else {
            return Ok(None);
        };
        match shape.mismatch(&info) {
            None => Ok(Some(info.max_entries())),
            Some((found, wanted)) => Err(KernelError::Shape {
                path: path.to_owned(),
                pin_dir: self.folder.clone(),
                found,
                wanted,
            }),
        }
    }

    /// What is pinned at a path, if anything is.
    pub fn existing(&self, path: &Path) -> Result<Option<MapInfo>, KernelError> {
        match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(KernelError::pin("find the pin", path)(error)),
            Ok(_) => MapInfo::from_pin(path)
                .map(Some)
                .map_err(|error| KernelError::pin("open the pinned map", path)(io_error(error))),
        }
    }

    /// The folder of the links.
    pub fn links(&self) -> PathBuf {
        self.folder.join(LINKS)
    }

    /// The folder of ORIGINS and what belongs to it.
    pub fn origins(&self) -> PathBuf {
        self.folder.join(format!("{}{ORIGINS_VERSION}", ORIGINS))
    }
}
