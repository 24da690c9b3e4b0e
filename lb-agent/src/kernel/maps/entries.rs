//! The entries of sockets: ORIGINS, and SPILL for those whose set there is full.

use std::collections::HashSet;
use std::io;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aya::Ebpf;
use aya::maps::{HashMap, IterableMap as _, Map, MapData};
use lb_common::Pair;
use lb_common::origin::{ENTRIES_PER_SET, Set};

use super::entry_reader::{ENTRY_WORDS, EntryReader};
use super::hash::{capacity, hash, hash_at, io_error};
use super::mapped::Mapped;
use crate::kernel::node::error::KernelError;
use crate::tables::Usage;

#[derive(Debug)]
pub struct SocketEntries {
    origins: Arc<Mapped>,
    /// Cookie to pair.
    spill: HashMap<MapData, u64, u64>,
    spill_length: u32,
    /// The number of elements in SPILL.
    spilled: Arc<Mapped>,
}

impl SocketEntries {
    pub fn take(object: &mut Ebpf) -> Result<Self, KernelError> {
        let origins = Arc::new(Mapped::take(object, "ORIGINS", Set::WORDS)?);
        let spill: HashMap<MapData, u64, u64> = hash(object, "SPILL")?;
        Ok(Self {
            origins,
            spill_length: capacity(&spill, "SPILL")?,
            spill,
            spilled: Arc::new(Mapped::take(object, "SPILLED", 1)?),
        })
    }

    /// Opens the pinned maps. None if one of the three is missing.
    pub fn pinned(folder: &Path) -> Result<Option<Self>, KernelError> {
        let paths = ["ORIGINS", "SPILL", "SPILLED"].map(|name| folder.join(name));
        if !paths.iter().all(|path| path.exists()) {
            return Ok(None);
        }
        let spill: HashMap<MapData, u64, u64> = hash_at(&paths[1])?;
        Ok(Some(Self {
            origins: Arc::new(Mapped::at(&paths[0], Set::WORDS)?),
            spill_length: capacity(&spill, "SPILL")?,
            spill,
            spilled: Arc::new(Mapped::at(&paths[2], 1)?),
        }))
    }

    /// Calls `see` with the cookie and the pair of each socket that has an entry.
    pub fn for_each(&self, see: &mut dyn FnMut(u64, Pair)) -> io::Result<()> {
        for [cookie, pair] in self.entries() {
            let cookie = cookie.load(Ordering::Acquire);
            if cookie != 0 {
                see(cookie, Pair::from_word(pair.load(Ordering::Acquire)));
            }
        }
        if self.spilled() != 0 {
            for element in self.spill.iter() {
                let (cookie, pair) = element.map_err(io_error)?;
                see(cookie, Pair::from_word(pair));
            }
        }
        Ok(())
    }

    /// Removes the entries of closed sockets, as `forget` in lb-ebpf does at the end of a socket, and calls `uncount`
    /// for each pair. Handles them one by one: an agent that is killed between removing an entry and counting it off
    /// leaves that count wrong for good. Returns the number of removed entries.
    pub fn clear(&mut self, of: &HashSet<u64>, mut uncount: impl FnMut(Pair)) -> io::Result<usize> {
        let mut cleared = 0;
        for [cookie, pair] in self.entries() {
            if of.contains(&cookie.load(Ordering::Acquire)) {
                uncount(Pair::from_word(pair.swap(0, Ordering::AcqRel)));
                cleared += 1;
                cookie.store(0, Ordering::Release);
            }
        }
        if self.spilled() != 0 {
            cleared += self.clear_spilled(of, uncount)?;
        }
        Ok(cleared)
    }

    fn clear_spilled(
        &mut self,
        of: &HashSet<u64>,
        mut uncount: impl FnMut(Pair),
    ) -> io::Result<usize> {
        let mut cleared = 0;
        let elements: Vec<(u64, u64)> = self
            .spill
            .iter()
            .filter(|element| !matches!(element, Ok((cookie, _)) if !of.contains(cookie)))
            .collect::<Result<_, _>>()
            .map_err(io_error)?;
        for (cookie, pair) in elements {
            match self.spill.remove(&cookie).map_err(io_error) {
                Ok(()) => {
                    uncount(Pair::from_word(pair));
                    self.spilled.word(0, 0).fetch_sub(1, Ordering::AcqRel);
                    cleared += 1;
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(cleared)
    }

    /// How full each of the two maps is.
    pub fn in_use(&self) -> [Usage; 2] {
        let taken = |[cookie, _]: &[&AtomicU64; 2]| cookie.load(Ordering::Relaxed) != 0;
        [
            Usage {
                table: "ORIGINS",
                used: self.entries().filter(taken).count(),
                capacity: self.origins.length as usize * ENTRIES_PER_SET,
            },
            Usage {
                table: "SPILL",
                used: usize::try_from(self.spilled()).unwrap_or(usize::MAX),
                capacity: self.spill_length as usize,
            },
        ]
    }

    /// A reader of single sockets' entries, for use on any thread.
    ///
    /// `backends`: BACKENDS.
    pub fn reader(&self, backends: Arc<Mapped>) -> Result<EntryReader, KernelError> {
        let failed = KernelError::map::<io::Error>("open", "SPILL");
        let fd = self.spill.map().fd().as_fd().try_clone_to_owned();
        let fd = fd.map_err(&failed)?;
        let map = MapData::from_fd(fd).and_then(Map::from_map_data);
        let spill = map.and_then(HashMap::try_from);
        Ok(EntryReader {
            origins: Arc::clone(&self.origins),
            spill: spill.map_err(|error| failed(io_error(error)))?,
            spilled: Arc::clone(&self.spilled),
            backends,
        })
    }

    /// Cookie and pair of each entry.
    fn entries(&self) -> impl Iterator<Item = [&AtomicU64; 2]> {
        (0..self.origins.length).flat_map(move |set| {
            (0..ENTRIES_PER_SET).map(move |entry| {
                [0, 1].map(|word| self.origins.word(set, entry * ENTRY_WORDS + word))
            })
        })
    }

    fn spilled(&self) -> u64 {
        self.spilled.word(0, 0).load(Ordering::Acquire)
    }
}
