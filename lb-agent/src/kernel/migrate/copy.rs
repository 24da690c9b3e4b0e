//! Fills a set of tables from another. Every element keeps its index, id or key, since ORIGINS contains the ids of
//! frontends and backends.

use std::io;
use std::path::Path;

use aya::maps::{Array, MapData};
use aya_obj::generated::BPF_F_MMAPABLE;
use lb_common::{Backend, FrontendEntry};

use super::layout::{COUNTERS, Layout};
use crate::kernel::bpf::loader::chain;
use crate::kernel::maps::clients;
use crate::kernel::maps::hash::{hash_at, io_error};
use crate::kernel::maps::mapped::Mapped;
use crate::kernel::maps::source_ranges::{self, SourceRanges};
use crate::kernel::node::error::KernelError;
use crate::kernel::pins::table_set::{COPIED, TableSet};

/// linux/bpf.h.
const BPF_NOEXIST: u64 = 1;

/// Copies a map that the two sets do not share. Skips the maps that are rebuilt from others (FILTER, NEAR_FRONTENDS).
pub fn copy(
    name: &str,
    layout: &Layout,
    from: &TableSet,
    to: &TableSet,
) -> Result<(), KernelError> {
    let [old, new] = [from, to].map(|set| set.folder.join(name));
    let (old, new) = (&old, &new);
    match name {
        "FRONTEND_LIST" => array::<{ FrontendEntry::WORDS }>(old, new, |words| words),
        "SLOTS" | "ROUNDS" | "CONFIG" => array::<1>(old, new, |words| words),
        "VIEWS" => array(old, new, |words| bytemuck::must_cast((layout.view)(words))),
        "BACKENDS" => backends(layout, old, new),
        source_ranges::NAME => copy_source_ranges(old, new),
        "FRONTENDS" => hash::<[u32; 5], [u64; 2]>(old, new, |key| key),
        clients::NAME => hash::<u64, u64>(old, new, |cookie| cookie),
        _ => again(name, layout, from, to),
    }
}

/// Copies what the programs added to a map after the first copy. Elements of the new map take precedence.
pub fn again(
    name: &str,
    layout: &Layout,
    from: &TableSet,
    to: &TableSet,
) -> Result<(), KernelError> {
    let (from, to) = (&from.folder.join(name), &to.folder.join(name));
    match name {
        "FLOWS" => hash::<[u64; 2], u32>(from, to, |key| key),
        "REPLIES" => hash::<[u64; 4], [u32; 5]>(from, to, |key| key),
        "AFFINITY" => hash::<[u64; 2], u64>(from, to, layout.affinity_key),
        _ => Ok(()),
    }
}

fn array<const N: usize>(
    from: &Path,
    to: &Path,
    convert: impl Fn([u64; N]) -> [u64; N],
) -> Result<(), KernelError> {
    let (from, to) = (Mapped::at(from, N)?, Mapped::at(to, N)?);
    for index in 0..from.length.min(to.length) {
        to.fill(index, convert(from.element(index)));
    }
    Ok(())
}

/// Leaves existing elements of the new map unchanged.
fn hash<K: aya::Pod, V: aya::Pod>(
    from: &Path,
    to: &Path,
    convert: impl Fn(K) -> K,
) -> Result<(), KernelError> {
    let old = hash_at::<K, V>(from)?;
    let mut new = hash_at::<K, V>(to)?;
    let unreadable = KernelError::pin::<io::Error>("read the pinned map", from);
    for element in old.iter() {
        let (key, value) = element.map_err(|error| unreadable(io_error(error)))?;
        match new
            .insert(convert(key), value, BPF_NOEXIST)
            .map_err(io_error)
        {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(KernelError::pin("write the pinned map", to)(error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// An older set may have none.
fn copy_source_ranges(from: &Path, to: &Path) -> Result<(), KernelError> {
    if !from.exists() {
        return Ok(());
    }
    let (old, mut new) = (SourceRanges::at(from)?, SourceRanges::at(to)?);
    let all = old
        .all()
        .map_err(KernelError::pin("read the pinned map", from))?;
    for prefix in all {
        new.put(&prefix)
            .map_err(KernelError::pin("write the pinned map", to))?;
    }
    Ok(())
}

/// Also notes the values of the counters, since programs add to the old ones until the hooks are moved.
fn backends(layout: &Layout, from: &Path, to: &Path) -> Result<(), KernelError> {
    let copied = to.with_file_name(COPIED);
    let (from, to) = (
        Mapped::at(from, Backend::WORDS)?,
        Mapped::at(to, Backend::WORDS)?,
    );
    let length = from.length.min(to.length);
    make_copied(&copied, length)?;
    let copied = Mapped::at(&copied, COUNTERS)?;
    for id in 0..length {
        let words = from.element(id);
        copied.fill(id, layout.counters.map(|word| words[word]));
        let words: [u64; Backend::WORDS] = bytemuck::must_cast((layout.backend)(words));
        to.fill(id, words);
    }
    Ok(())
}

fn make_copied(pin: &Path, length: u32) -> Result<(), KernelError> {
    let map = Array::<MapData, [u64; COUNTERS]>::create(length, BPF_F_MMAPABLE)
        .map_err(|error| KernelError::map("create", COPIED)(io_error(error)))?;
    map.pin(pin)
        .map_err(|error| KernelError::pin("pin the map", pin)(io::Error::other(chain(&error))))
}
