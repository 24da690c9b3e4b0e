//! SOURCE_RANGES: a trie of prefixes, read and written by system call.

use std::io;
use std::path::Path;

use aya::Ebpf;
use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Map, MapData};
use lb_common::source_range::SourceRange;

use super::hash::io_error;
use crate::kernel::bpf::loader::take_map;
use crate::kernel::node::error::KernelError;
use crate::tables::SourcePrefix;

pub const NAME: &str = "SOURCE_RANGES";

#[derive(Debug)]
pub struct SourceRanges(LpmTrie<MapData, SourceRange, u32>);

impl SourceRanges {
    pub fn take(object: &mut Ebpf) -> Result<Self, KernelError> {
        let trie = LpmTrie::try_from(take_map(object, NAME)?);
        trie.map(Self)
            .map_err(|error| KernelError::Object(format!("map {NAME}: {error}")))
    }

    /// Opens the pinned map.
    pub fn at(path: &Path) -> Result<Self, KernelError> {
        let trie = MapData::from_pin(path).and_then(|data| LpmTrie::try_from(Map::LpmTrie(data)));
        trie.map(Self)
            .map_err(|error| KernelError::pin("open the pinned map", path)(io_error(error)))
    }

    pub fn all(&self) -> io::Result<Vec<SourcePrefix>> {
        let keys = self.0.keys().map(|key| {
            let key = key.map_err(io_error)?;
            Ok(SourcePrefix {
                bits: key.prefix_len(),
                key: key.data(),
            })
        });
        keys.collect()
    }

    pub fn put(&mut self, prefix: &SourcePrefix) -> io::Result<()> {
        self.0.insert(&key(prefix), 1, 0).map_err(io_error)
    }

    /// One that does not exist is no error.
    pub fn remove(&mut self, prefix: &SourcePrefix) -> io::Result<()> {
        match self.0.remove(&key(prefix)).map_err(io_error) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

const fn key(prefix: &SourcePrefix) -> Key<SourceRange> {
    Key::new(prefix.bits, prefix.key)
}
