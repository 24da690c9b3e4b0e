//! Where the tables are: the kernel's maps, or plain memory in tests.

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;

use lb_common::affinity::Affinity;
use lb_common::source_range::SourceRange;
use lb_common::{FrontendKey, FrontendValue, Pair};

/// The tables that are arrays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Table {
    FrontendList,
    Views,
    Slots,
    Backends,
    Config,
}

impl Table {
    /// The map's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::FrontendList => "FRONTEND_LIST",
            Self::Views => "VIEWS",
            Self::Slots => "SLOTS",
            Self::Backends => "BACKENDS",
            Self::Config => "CONFIG",
        }
    }
}

/// How many words were repaired of what is kept beside FRONTENDS so that its elements are found sooner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copies {
    pub filter: usize,
    pub near: usize,
}

/// Some elements of FRONTENDS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    pub elements: Vec<(FrontendKey, FrontendValue)>,
    /// The position of the next ones; none: these were the last.
    pub next: Option<u32>,
}

/// How full a table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The map's name.
    pub table: &'static str,
    /// Elements in use, quarantined ones included.
    pub used: usize,
    pub capacity: usize,
}

impl Usage {
    /// Whether more than so many percent are in use.
    #[must_use]
    pub const fn is_above(&self, percent: usize) -> bool {
        self.used.saturating_mul(100) > self.capacity.saturating_mul(percent)
    }
}

/// An element of SOURCE_RANGES: the first so many bits of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SourcePrefix {
    pub key: SourceRange,
    /// At most [`lb_common::source_range::KEY_BITS`].
    pub bits: u32,
}

impl SourcePrefix {
    /// The service port's id.
    #[must_use]
    pub const fn service_port(&self) -> u32 {
        u32::from_be(self.key[0])
    }
}

/// The elements that FRONTENDS should have.
pub trait Elements {
    /// The value that a key's element should have; none: there should be no such element.
    fn value(&self, key: &FrontendKey) -> Option<FrontendValue>;

    fn keys(&self) -> Box<dyn Iterator<Item = FrontendKey> + '_>;
}

/// Reads tables: words of arrays, elements of FRONTENDS, and the entries of sockets.
pub trait ReadTables {
    /// How many elements an array has.
    fn length(&self, table: Table) -> u32;

    /// How many elements FRONTENDS may have.
    fn most_frontends(&self) -> u32;

    /// A word of an element; words are of 64 bits. `index` and `word` are within the array.
    fn load(&self, table: Table, index: u32, word: usize) -> u64;

    /// All elements of FRONTENDS.
    fn frontends(&self) -> io::Result<Vec<(FrontendKey, FrontendValue)>>;

    /// All elements of SOURCE_RANGES.
    fn source_ranges(&self) -> io::Result<Vec<SourcePrefix>>;

    /// All elements of the NAT maps of netfilter: a backend's id and its address. None: there is no packet path.
    fn nat(&self) -> io::Result<Option<Vec<(u32, SocketAddr)>>>;

    /// Shows each entry of ORIGINS and SPILL: the socket's cookie and its pair.
    fn entries(&self, see: &mut dyn FnMut(u64, Pair)) -> io::Result<()>;
}

/// Tables that can be written.
///
/// Each call of a method that writes is one store: readers run between any two of them, and the agent may be killed
/// between any two of them.
pub trait Backing: ReadTables {
    /// Writes a word of an element, after everything that was written before (release).
    fn store(&mut self, table: Table, index: u32, word: usize, value: u64);

    /// Compares and exchanges a word that programs write too. Returns whether it was `from`.
    fn replace(&mut self, table: Table, index: u32, word: usize, from: u64, to: u64) -> bool;

    /// Some elements of FRONTENDS, from a position on; the first is 0. Elements that are added or removed meanwhile may be
    /// in the result or not.
    fn frontends_from(&self, position: u32) -> io::Result<Part>;

    fn frontend(&self, key: &FrontendKey) -> io::Result<Option<FrontendValue>>;

    /// How what is kept beside FRONTENDS differs for an element that exists. Repairs nothing.
    fn differing_copies(&self, key: &FrontendKey, value: &FrontendValue) -> Copies;

    /// The element of AFFINITY of a client.
    ///
    /// `client`: as in [`lb_common::affinity::AffinityKey`]. `service_port`: its id.
    fn affinity(&self, client: u64, service_port: u32) -> io::Result<Option<Affinity>>;

    fn put_frontend(&mut self, key: &FrontendKey, value: &FrontendValue) -> io::Result<()>;

    /// An element that does not exist is no error.
    fn remove_frontend(&mut self, key: &FrontendKey) -> io::Result<()>;

    /// Repairs what is kept beside FRONTENDS for an element that exists: see [`Copies`].
    fn repair_copies(&mut self, key: &FrontendKey, value: &FrontendValue) -> Copies;

    /// Removes from what is kept beside FRONTENDS, from a position on, all that belongs to no element. The first position
    /// is 0. Returns the next one; none: that was all.
    fn prune_copies(&mut self, position: u32, elements: &dyn Elements) -> (Copies, Option<u32>);

    fn put_source_range(&mut self, prefix: &SourcePrefix) -> io::Result<()>;

    /// An element that does not exist is no error.
    fn remove_source_range(&mut self, prefix: &SourcePrefix) -> io::Result<()>;

    /// Whether there is a packet path, and so the NAT maps.
    fn has_nat(&self) -> bool;

    /// Adds or replaces elements of the NAT maps, all at once.
    fn put_nat(&mut self, elements: &[(u32, SocketAddr)]) -> io::Result<()>;

    /// Removes elements of the NAT maps. Those that do not exist are no error.
    fn remove_nat(&mut self, ids: &[u32]) -> io::Result<()>;

    /// Removes the entries of sockets that were closed, and subtracts each from its backend's count. Returns their number.
    fn clear_entries(&mut self, of: &HashSet<u64>) -> io::Result<usize>;

    /// How full ORIGINS and SPILL are: reads all of ORIGINS.
    fn entries_in_use(&self) -> [Usage; 2];
}
