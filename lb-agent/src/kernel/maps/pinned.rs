//! Pinned tables for reading, whether an agent runs or not.

use std::io;
use std::net::SocketAddr;
use std::path::Path;

use aya::maps::{HashMap, MapData};
use lb_common::{FrontendKey, FrontendValue, Pair};

use super::arrays::Arrays;
use super::entries::SocketEntries;
use super::hash::{capacity, hash_at, io_error};
use super::mapped::Mapped;
use super::source_ranges::{self, SourceRanges};
use crate::kernel::netfilter;
use crate::kernel::node::error::KernelError;
use crate::tables::{ReadTables, SourcePrefix, Table};

/// The maps of one set of tables, opened for reading only.
#[derive(Debug)]
pub struct PinnedMaps {
    frontends: HashMap<MapData, FrontendKey, FrontendValue>,
    most_frontends: u32,
    arrays: Arrays,
    /// None for tables that an older agent pinned.
    source_ranges: Option<SourceRanges>,
    /// None if no agent has pinned them yet.
    entries: Option<SocketEntries>,
}

impl PinnedMaps {
    /// `tables`: the folder of the set. `origins`: the folder of ORIGINS and SPILL.
    pub fn open(tables: &Path, origins: &Path) -> Result<Self, KernelError> {
        let frontends = hash_at(&tables.join("FRONTENDS"))?;
        Ok(Self {
            most_frontends: capacity(&frontends, "FRONTENDS")?,
            frontends,
            arrays: Arrays::open(|name, width| Mapped::at(&tables.join(name), width))?,
            source_ranges: match tables.join(source_ranges::NAME) {
                path if path.exists() => Some(SourceRanges::at(&path)?),
                _ => None,
            },
            entries: SocketEntries::pinned(origins)?,
        })
    }
}

impl ReadTables for PinnedMaps {
    fn length(&self, table: Table) -> u32 {
        self.arrays.get(table).length
    }

    fn most_frontends(&self) -> u32 {
        self.most_frontends
    }

    fn load(&self, table: Table, index: u32, word: usize) -> u64 {
        let word = self.arrays.get(table).word(index, word);
        word.load(std::sync::atomic::Ordering::Acquire)
    }

    fn frontends(&self) -> io::Result<Vec<(FrontendKey, FrontendValue)>> {
        let elements: Result<_, _> = self.frontends.iter().collect();
        elements.map_err(io_error)
    }

    fn source_ranges(&self) -> io::Result<Vec<SourcePrefix>> {
        self.source_ranges
            .as_ref()
            .map_or_else(|| Ok(Vec::new()), SourceRanges::all)
    }

    /// None too if netfilter does not list them, since the other tables are worth a look without.
    fn nat(&self) -> io::Result<Option<Vec<(u32, SocketAddr)>>> {
        Ok(netfilter::elements().ok())
    }

    fn entries(&self, see: &mut dyn FnMut(u64, Pair)) -> io::Result<()> {
        self.entries
            .as_ref()
            .map_or(Ok(()), |all| all.for_each(see))
    }
}
