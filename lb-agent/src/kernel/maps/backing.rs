//! The kernel's maps as a backing of the tables: arrays in the agent's memory, hashes by system call.

use std::cell::RefCell;
use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use aya::Ebpf;
use aya::maps::{HashMap, IterableMap as _, MapData, MapError};
use lb_common::affinity::{Affinity, AffinityKey};
use lb_common::{Backend, FrontendKey, FrontendValue, Pair};

use super::arrays::Arrays;
use super::entries::SocketEntries;
use super::entry_reader::EntryReader;
use super::filter::Filter;
use super::hash::{capacity, hash, io_error};
use super::mapped::Mapped;
use super::near_frontends::NearFrontends;
use super::source_ranges::SourceRanges;
use crate::kernel::bpf::sys;
use crate::kernel::netfilter::Netfilter;
use crate::kernel::node::error::KernelError;
use crate::tables::{Backing, Copies, Elements, Part, ReadTables, SourcePrefix, Table, Usage};

/// The number of elements in one read.
const BATCH: usize = 512;

/// The maps, open as long as this value exists; the pinned maps stay in the kernel.
#[derive(Debug)]
pub struct Maps {
    frontends: HashMap<MapData, FrontendKey, FrontendValue>,
    most_frontends: u32,
    filter: Filter,
    near: NearFrontends,
    arrays: Arrays,
    source_ranges: SourceRanges,
    affinity: HashMap<MapData, AffinityKey, u64>,
    /// None without the packet path.
    nat: Option<RefCell<Netfilter>>,
    entries: SocketEntries,
}

impl Maps {
    /// Takes the maps out of the object. Its programs must be loaded by now, but not attached: they rely on FILTER and
    /// NEAR_FRONTENDS, which this function builds from the contents of FRONTENDS.
    pub fn take(object: &mut Ebpf) -> Result<Self, KernelError> {
        let frontends = hash(object, "FRONTENDS")?;
        let mut maps = Self {
            filter: Filter::take(object)?,
            near: NearFrontends::take(object)?,
            most_frontends: capacity(&frontends, "FRONTENDS")?,
            frontends,
            arrays: Arrays::open(|name, width| Mapped::take(object, name, width))?,
            source_ranges: SourceRanges::take(object)?,
            affinity: hash(object, "AFFINITY")?,
            nat: None,
            entries: SocketEntries::take(object)?,
        };
        let unreadable = |error| KernelError::map("read", "FRONTENDS")(io_error(error));
        maps.make_filter().map_err(unreadable)?;
        for element in maps.frontends.iter() {
            let (key, value) = element.map_err(unreadable)?;
            maps.near.put(&key, &value);
        }
        Ok(maps)
    }

    /// The packet path is on: from now on the tables keep the NAT maps of netfilter up to date.
    pub fn use_nat(&mut self, netfilter: Netfilter) {
        self.nat = Some(RefCell::new(netfilter));
    }

    /// The rules of netfilter; none without the packet path.
    #[must_use]
    pub const fn netfilter(&self) -> Option<&RefCell<Netfilter>> {
        self.nat.as_ref()
    }

    /// A reader of single sockets' entries, for use on any thread.
    pub fn entry_reader(&self) -> Result<EntryReader, KernelError> {
        self.entries.reader(Arc::clone(&self.arrays.backends))
    }

    fn make_filter(&mut self) -> Result<(), MapError> {
        let keys: Vec<FrontendKey> = self.frontends.keys().collect::<Result<_, _>>()?;
        self.filter.make(keys.into_iter());
        Ok(())
    }

    /// Counts one more bit of FILTER that may be stale.
    fn count_stale(&mut self) {
        if self.filter.remove()
            && let Err(error) = self.make_filter()
        {
            tracing::warn!(
                event = "tables.filter_not_rebuilt",
                %error,
                "cannot rebuild FILTER: more misses than needed look up FRONTENDS",
            );
        }
    }
}

/// The value of an element, if it exists.
fn if_there<T>(found: Result<T, MapError>) -> io::Result<Option<T>> {
    match found.map_err(io_error) {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Subtracts a socket that no longer exists from `active` of its backend. Never goes below 0, since a pinned table may
/// contain any value.
fn uncount(backends: &Mapped, pair: Pair) {
    if pair.frontend != 0 && pair.backend < backends.length {
        let active = backends.word(pair.backend, Backend::ACTIVE_WORD);
        let _ = active.fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| n.checked_sub(1));
    }
}

impl ReadTables for Maps {
    fn length(&self, table: Table) -> u32 {
        self.arrays.get(table).length
    }

    fn most_frontends(&self) -> u32 {
        self.most_frontends
    }

    fn load(&self, table: Table, index: u32, word: usize) -> u64 {
        self.arrays
            .get(table)
            .word(index, word)
            .load(Ordering::Acquire)
    }

    fn frontends(&self) -> io::Result<Vec<(FrontendKey, FrontendValue)>> {
        self.frontends
            .iter()
            .collect::<Result<_, _>>()
            .map_err(io_error)
    }

    fn source_ranges(&self) -> io::Result<Vec<SourcePrefix>> {
        self.source_ranges.all()
    }

    fn nat(&self) -> io::Result<Option<Vec<(u32, SocketAddr)>>> {
        let elements = self.nat.as_ref().map(|nat| nat.borrow_mut().elements());
        elements.transpose().map_err(io::Error::other)
    }

    fn entries(&self, see: &mut dyn FnMut(u64, Pair)) -> io::Result<()> {
        self.entries.for_each(see)
    }
}

impl Backing for Maps {
    fn store(&mut self, table: Table, index: u32, word: usize, value: u64) {
        self.arrays
            .get(table)
            .word(index, word)
            .store(value, Ordering::Release);
    }

    fn replace(&mut self, table: Table, index: u32, word: usize, from: u64, to: u64) -> bool {
        let word = self.arrays.get(table).word(index, word);
        word.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    fn frontends_from(&self, position: u32) -> io::Result<Part> {
        let mut keys = vec![FrontendKey::new([0; 4], 0, 0); BATCH];
        let mut values = vec![FrontendValue::from_words(0, 0); BATCH];
        let fd = self.frontends.map().fd().as_fd();
        let (number, next) = sys::read_hash(fd, position, &mut keys, &mut values)?;
        let elements = keys.into_iter().zip(values).take(number);
        Ok(Part {
            elements: elements.collect(),
            next,
        })
    }

    fn frontend(&self, key: &FrontendKey) -> io::Result<Option<FrontendValue>> {
        if_there(self.frontends.get(key, 0))
    }

    fn repair_copies(&mut self, key: &FrontendKey, value: &FrontendValue) -> Copies {
        Copies {
            filter: usize::from(self.filter.repair(key)),
            near: usize::from(self.near.repair(key, value)),
        }
    }

    fn prune_copies(&mut self, position: u32, elements: &dyn Elements) -> (Copies, Option<u32>) {
        let filter = if position == 0 {
            self.filter.prune(elements.keys())
        } else {
            0
        };
        let (near, next) = self.near.prune(position, elements);
        (Copies { filter, near }, next)
    }

    fn differing_copies(&self, key: &FrontendKey, value: &FrontendValue) -> Copies {
        Copies {
            filter: usize::from(!self.filter.has(key)),
            near: usize::from(self.near.differs(key, value)),
        }
    }

    fn affinity(&self, client: u64, service_port: u32) -> io::Result<Option<Affinity>> {
        let key = AffinityKey {
            client,
            service_port,
            zero: 0,
        };
        let word = if_there(self.affinity.get(&key, 0))?;
        Ok(word.map(Affinity::from_word))
    }

    fn put_frontend(&mut self, key: &FrontendKey, value: &FrontendValue) -> io::Result<()> {
        self.filter.add(key);
        if let Err(error) = self.frontends.insert(key, value, 0) {
            self.count_stale();
            return Err(io_error(error));
        }
        self.near.put(key, value);
        Ok(())
    }

    fn remove_frontend(&mut self, key: &FrontendKey) -> io::Result<()> {
        self.near.remove(key);
        match self.frontends.remove(key).map_err(io_error) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        self.count_stale();
        Ok(())
    }

    fn put_source_range(&mut self, prefix: &SourcePrefix) -> io::Result<()> {
        self.source_ranges.put(prefix)
    }

    fn remove_source_range(&mut self, prefix: &SourcePrefix) -> io::Result<()> {
        self.source_ranges.remove(prefix)
    }

    fn has_nat(&self) -> bool {
        self.nat.is_some()
    }

    fn put_nat(&mut self, elements: &[(u32, SocketAddr)]) -> io::Result<()> {
        match &mut self.nat {
            Some(nat) => nat.get_mut().put(elements).map_err(io::Error::other),
            None => Ok(()),
        }
    }

    fn remove_nat(&mut self, ids: &[u32]) -> io::Result<()> {
        match &mut self.nat {
            Some(nat) => nat.get_mut().remove(ids).map_err(io::Error::other),
            None => Ok(()),
        }
    }

    fn clear_entries(&mut self, of: &HashSet<u64>) -> io::Result<usize> {
        let backends = &self.arrays.backends;
        self.entries.clear(of, |pair| uncount(backends, pair))
    }

    fn entries_in_use(&self) -> [Usage; 2] {
        self.entries.in_use()
    }
}
