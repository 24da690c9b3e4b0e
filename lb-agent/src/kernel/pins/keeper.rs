//! Keeps the data path in place while the agent runs: restores removed pins, detached links, and a replaced cgroup.

use std::fs;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::folder::Pins;
use crate::kernel::bpf::hooks::{HookState, replace_pin};
use crate::kernel::bpf::sys;
use crate::kernel::maps::shapes;
use crate::kernel::maps::sizes::Sizes;
use crate::kernel::node::cgroup::Cgroup;
use crate::kernel::node::error::KernelError;

/// A map and the path of its pin.
#[derive(Debug)]
pub struct PinnedMap {
    path: PathBuf,
    id: u32,
    /// Kept open, so that the map can be pinned again.
    open: OwnedFd,
}

/// All pinned objects, and their cgroup.
#[derive(Debug)]
pub struct Keeper {
    pins: Pins,
    cgroup: Cgroup,
    maps: Vec<PinnedMap>,
    hooks: Vec<HookState>,
}

/// What was restored.
#[derive(Debug, Default)]
pub struct Kept {
    /// The names of hooks, and what had happened to each.
    pub hooks: Vec<(&'static str, &'static str)>,
    /// The number of maps that were pinned again.
    pub maps: usize,
    /// The pin folder was missing; the new one is locked.
    pub is_new_folder: bool,
    /// What could not be restored.
    pub errors: Vec<KernelError>,
}

impl PinnedMap {
    /// Opens all maps that are pinned.
    pub fn all(pins: &Pins) -> Result<Vec<Self>, KernelError> {
        shapes::all(Sizes::default())
            .map(|shape| {
                let path = pins.map(&shape);
                let opened = sys::object_at(&path)
                    .and_then(|map| Ok((sys::map_id(map.as_fd())?, map)))
                    .map_err(KernelError::pin("open the pinned map", &path));
                let (id, open) = opened?;
                Ok(Self { path, id, open })
            })
            .collect()
    }

    /// Returns whether the map had to be pinned again.
    fn repair(&self) -> io::Result<bool> {
        let pinned = match sys::object_at(&self.path) {
            Ok(map) => Some(sys::map_id(map.as_fd())?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let is_ours = pinned == Some(self.id);
        if !is_ours {
            replace_pin(self.open.as_fd(), &self.path)?;
        }
        Ok(!is_ours)
    }
}

impl Keeper {
    #[must_use]
    pub const fn new(
        pins: Pins,
        cgroup: Cgroup,
        maps: Vec<PinnedMap>,
        hooks: Vec<HookState>,
    ) -> Self {
        Self {
            pins,
            cgroup,
            maps,
            hooks,
        }
    }

    /// The pin folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.pins.folder()
    }

    /// Stops keeping anything.
    #[must_use]
    pub fn into_pins(self) -> Pins {
        self.pins
    }

    #[must_use]
    pub const fn cgroup(&self) -> &Cgroup {
        &self.cgroup
    }

    #[must_use]
    pub fn hooks(&self) -> &[HookState] {
        &self.hooks
    }

    /// Restores what is no longer in place, and leaves the rest untouched. Takes some tens of system calls.
    pub fn keep(&mut self) -> Kept {
        let mut kept = Kept::default();
        match self.pins.restore() {
            Ok(is_new) => kept.is_new_folder = is_new,
            // Without the folder, or with another agent's, there is no place for pins.
            Err(error) => {
                kept.errors.push(error);
                return kept;
            }
        }
        for map in &self.maps {
            match map.repair() {
                Ok(was_removed) => kept.maps += usize::from(was_removed),
                Err(error) => {
                    let failed = KernelError::pin("pin the map", &map.path);
                    kept.errors.push(failed(error));
                }
            }
        }
        if let Err(error) = self.find_cgroup() {
            kept.errors.push(error);
            return kept;
        }
        let links = self.pins.links();
        for hook in &mut self.hooks {
            match hook.repair(&links, &self.cgroup) {
                Ok(what) => kept.hooks.extend(what.map(|what| (hook.name, what))),
                Err(error) => kept.errors.push(KernelError::Attach {
                    program: hook.name.to_owned(),
                    cgroup: self.cgroup.path.clone(),
                    error,
                }),
            }
        }
        kept
    }

    /// Opens the cgroup again if its path leads to another one now.
    fn find_cgroup(&mut self) -> Result<(), KernelError> {
        let path = &self.cgroup.path;
        let now = fs::metadata(path).map_err(|error| KernelError::Cgroup {
            path: path.clone(),
            error,
        })?;
        if now.ino() != self.cgroup.id {
            let is_default = self.cgroup.is_default;
            self.cgroup = Cgroup::open(Some(path))?;
            self.cgroup.is_default = is_default;
        }
        Ok(())
    }
}
