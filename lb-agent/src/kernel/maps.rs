//! The kernel's maps as a backing of the tables: arrays in our own memory, hashes by system call.

use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};

use aya::Ebpf;
use aya::maps::{HashMap, Map, MapData, MapError};
use lb_common::origin::Set;
use lb_common::{Backend, FrontendEntry, FrontendKey, FrontendValue, Pair, View, Way};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::KernelError;
use crate::tables::{Backing, Table};

/// The maps, for as long as this lives; in the kernel they stay.
#[derive(Debug)]
pub struct Maps {
    frontends: HashMap<MapData, FrontendKey, FrontendValue>,
    frontend_list: Mapped,
    views: Mapped,
    slots: Mapped,
    backends: Mapped,
    config: Mapped,
    origins: Mapped,
    spill: HashMap<MapData, u64, u64>,
    spilled: Mapped,
}

impl Maps {
    /// Takes the maps out of the object, whose programs must be loaded by now.
    pub fn take(object: &mut Ebpf) -> Result<Self, KernelError> {
        Ok(Self {
            frontends: hash(object, "FRONTENDS")?,
            frontend_list: Mapped::take(object, "FRONTEND_LIST", FrontendEntry::WORDS)?,
            views: Mapped::take(object, "VIEWS", View::WORDS)?,
            slots: Mapped::take(object, "SLOTS", 1)?,
            backends: Mapped::take(object, "BACKENDS", Backend::WORDS)?,
            config: Mapped::take(object, "CONFIG", 1)?,
            origins: Mapped::take(object, "ORIGINS", Set::WORDS)?,
            spill: hash(object, "SPILL")?,
            spilled: Mapped::take(object, "SPILLED", 1)?,
        })
    }

    const fn table(&self, table: Table) -> &Mapped {
        match table {
            Table::FrontendList => &self.frontend_list,
            Table::Views => &self.views,
            Table::Slots => &self.slots,
            Table::Backends => &self.backends,
            Table::Config => &self.config,
        }
    }
}

impl Backing for Maps {
    fn length(&self, table: Table) -> u32 {
        self.table(table).length
    }

    fn load(&self, table: Table, index: u32, word: usize) -> u64 {
        self.table(table).word(index, word).load(Ordering::Acquire)
    }

    fn store(&mut self, table: Table, index: u32, word: usize, value: u64) {
        self.table(table)
            .word(index, word)
            .store(value, Ordering::Release);
    }

    fn frontends(&self) -> io::Result<Vec<(FrontendKey, FrontendValue)>> {
        self.frontends
            .iter()
            .collect::<Result<_, _>>()
            .map_err(io_error)
    }

    fn put_frontend(&mut self, key: &FrontendKey, value: &FrontendValue) -> io::Result<()> {
        self.frontends.insert(key, value, 0).map_err(io_error)
    }

    fn remove_frontend(&mut self, key: &FrontendKey) -> io::Result<()> {
        match self.frontends.remove(key).map_err(io_error) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }

    fn pairs(&self, see: &mut dyn FnMut(Pair)) -> io::Result<()> {
        const WAY_WORDS: usize = size_of::<Way>() / 8;
        for set in 0..self.origins.length {
            for way in 0..lb_common::origin::WAYS {
                let word = |word| self.origins.word(set, way * WAY_WORDS + word);
                if word(0).load(Ordering::Acquire) != 0 {
                    see(Pair::from_word(word(1).load(Ordering::Acquire)));
                }
            }
        }
        if self.spilled.word(0, 0).load(Ordering::Acquire) != 0 {
            for element in self.spill.iter() {
                see(Pair::from_word(element.map_err(io_error)?.1));
            }
        }
        Ok(())
    }
}

pub fn take(object: &mut Ebpf, name: &'static str) -> Result<Map, KernelError> {
    object
        .take_map(name)
        .ok_or_else(|| KernelError::Maps(format!("{name} is not in the object")))
}

fn hash<K: aya::Pod, V: aya::Pod>(
    object: &mut Ebpf,
    name: &'static str,
) -> Result<HashMap<MapData, K, V>, KernelError> {
    HashMap::try_from(take(object, name)?)
        .map_err(|error| KernelError::Maps(format!("{name}: {error}")))
}

/// The error number that a system call gave, where there was one.
fn io_error(error: MapError) -> io::Error {
    match error {
        MapError::KeyNotFound => io::ErrorKind::NotFound.into(),
        MapError::SyscallError(error) => error.io_error,
        error => io::Error::other(error),
    }
}

/// An array, mapped into our memory as words.
#[derive(Debug)]
struct Mapped {
    words: *mut AtomicU64,
    /// In bytes.
    size: usize,
    /// In elements.
    length: u32,
    /// Words of an element.
    width: usize,
}

impl Mapped {
    fn take(object: &mut Ebpf, name: &'static str, width: usize) -> Result<Self, KernelError> {
        let Map::Array(data) = take(object, name)? else {
            return Err(KernelError::Maps(format!("{name} is not an array")));
        };
        let length = data
            .info()
            .map_err(|error| KernelError::Maps(format!("{name}: {error}")))?
            .max_entries();
        Self::new(data.fd(), length, width)
            .map_err(|error| KernelError::Maps(format!("{name} cannot be mapped: {error}")))
    }

    fn new(fd: impl AsFd, length: u32, width: usize) -> io::Result<Self> {
        let size = length as usize * width * 8;
        // SAFETY: a new mapping, at an address that the kernel chooses.
        let words = unsafe {
            mmap(
                std::ptr::null_mut(),
                size,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                fd,
                0,
            )
        }?;
        Ok(Self {
            words: words.cast(),
            size,
            length,
            width,
        })
    }

    /// # Panics
    /// Outside of the array: a mistake of ours, never of what comes from outside.
    fn word(&self, index: u32, word: usize) -> &AtomicU64 {
        assert!(
            index < self.length && word < self.width,
            "outside of a table"
        );
        // SAFETY: within the mapping, which lives as long as `self`; aligned, since a mapping begins on a page;
        // everybody else, the kernel too, writes these words atomically.
        unsafe { &*self.words.add(index as usize * self.width + word) }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and no reference to it outlives `self`. There is nothing to do if it fails.
        let _ = unsafe { munmap(self.words.cast(), self.size) };
    }
}

// SAFETY: a mapping belongs to the process, not to a thread, and all access to it is atomic.
unsafe impl Send for Mapped {}
// SAFETY: as above.
unsafe impl Sync for Mapped {}
