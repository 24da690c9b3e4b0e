//! Removes all pins.

use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use super::folder::LINKS;
use super::folders::{list, remove_empty, remove_pin};
use super::lock::{check_bpffs, lock};
use super::table_set::{ORIGINS, PROGRAM, TABLES};
use crate::kernel::bpf::hooks::LINK;
use crate::kernel::bpf::sys;
use crate::kernel::node::error::KernelError;

/// What [`unload`] removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unloaded {
    pub links: usize,
    pub maps: usize,
    pub packets: UnloadedPackets,
}

/// What was removed of the packet path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnloadedPackets {
    /// The number of devices that had the program `packet`.
    pub devices: usize,
    /// The nftables table `inet socklb`.
    pub has_table: bool,
}

impl UnloadedPackets {
    /// Whether there was no packet path.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.devices == 0 && !self.has_table
    }
}

/// Removes the data path: first the links, which detaches the programs, then the maps, then the folder.
///
/// Removes only our own pins, of every version. None if there is no such folder, and no packet path either.
///
/// `remove_packets`: removes the packet path, whose links are in the folder that it is given.
pub fn unload(
    folder: &Path,
    remove_packets: impl FnOnce(&Path) -> Result<UnloadedPackets, KernelError>,
) -> Result<Option<Unloaded>, KernelError> {
    check_bpffs(folder)?;
    let links = folder.join(LINKS);
    if !folder.exists() {
        let packets = remove_packets(&links)?;
        return Ok((!packets.is_empty()).then(|| Unloaded {
            packets,
            ..Unloaded::default()
        }));
    }
    let held = lock(folder, FlockOperation::NonBlockingLockExclusive)?;
    let packets = remove_packets(&links)?;
    let mut folders = Vec::new();
    for entry in list(folder)? {
        let name = entry.file_name().unwrap_or_default().to_string_lossy();
        if name == LINKS || name.starts_with(TABLES) || name.starts_with(ORIGINS) {
            folders.push(entry);
        }
    }
    let mut pins = Vec::new();
    for folder in &folders {
        pins.extend(list(folder)?);
    }
    let begins_with = |path: &PathBuf, beginning| {
        path.file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with(beginning))
    };
    let (links, others): (Vec<PathBuf>, Vec<PathBuf>) =
        pins.into_iter().partition(|path| begins_with(path, LINK));
    let (programs, maps): (Vec<PathBuf>, Vec<PathBuf>) = others
        .into_iter()
        .partition(|path| begins_with(path, PROGRAM));
    for link in &links {
        sys::object_at(link)
            .and_then(|link| sys::detach_link(link.as_fd()))
            .map_err(KernelError::pin("detach the pinned link", link))?;
    }
    for pin in links.iter().chain(&programs).chain(&maps) {
        remove_pin(pin)?;
    }
    for folder in &folders {
        remove_empty(folder)?;
    }
    // A folder with pins of other programs stays.
    if list(folder)?.is_empty() {
        remove_empty(folder)?;
    }
    drop(held);
    Ok(Some(Unloaded {
        links: links.len(),
        maps: maps.len(),
        packets,
    }))
}
