//! What the tables are written to: the kernel's maps, or plain memory in tests.

use std::collections::HashSet;
use std::io;

use super::Elements;
use lb_common::{FrontendKey, FrontendValue, Pair};

use super::usage::Usage;

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

/// How many words were mended of what is kept beside FRONTENDS so that its elements are found sooner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copies {
    pub filter: usize,
    pub near: usize,
}

/// Some elements of FRONTENDS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    pub elements: Vec<(FrontendKey, FrontendValue)>,
    /// The place of the next ones; none: those were the last.
    pub next: Option<u32>,
}

/// Words of arrays, elements of FRONTENDS, and a look at ORIGINS.
///
/// Each call of a method that writes is one store: readers run between any two of them, and the writer may
/// stop for ever between any two of them.
pub trait Backing {
    /// How many elements an array has.
    fn length(&self, table: Table) -> u32;

    /// How many elements FRONTENDS may have.
    fn most_frontends(&self) -> u32;

    /// A word of an element; words are of 64 bits. `index` and `word` are within the array.
    fn load(&self, table: Table, index: u32, word: usize) -> u64;

    /// Writes a word of an element, after all that was written before (release).
    fn store(&mut self, table: Table, index: u32, word: usize, value: u64);

    /// Writes a word of an element that programs write too; not if it has become another than `from`. Returns whether it was.
    fn replace(&mut self, table: Table, index: u32, word: usize, from: u64, to: u64) -> bool;

    /// All elements of FRONTENDS.
    fn frontends(&self) -> io::Result<Vec<(FrontendKey, FrontendValue)>>;

    /// Some elements of FRONTENDS, from a place on; the first is 0. What is put in or removed meanwhile is shown or not; what
    /// stays is shown.
    fn frontends_from(&self, place: u32) -> io::Result<Part>;

    fn frontend(&self, key: &FrontendKey) -> io::Result<Option<FrontendValue>>;

    fn put_frontend(&mut self, key: &FrontendKey, value: &FrontendValue) -> io::Result<()>;

    /// Removing what is not there is no error.
    fn remove_frontend(&mut self, key: &FrontendKey) -> io::Result<()>;

    /// Mends what is kept beside FRONTENDS of an element that is there: see [`Copies`].
    fn mend_copies(&mut self, key: &FrontendKey, value: &FrontendValue) -> Copies;

    /// Mends, of what is kept beside FRONTENDS, what no element of it says. Returns where to go on; none: that was all.
    /// Begins at 0.
    fn prune_copies(&mut self, place: u32, elements: &Elements<'_>) -> (Copies, Option<u32>);

    /// Shows each place in ORIGINS and SPILL that a socket has: the socket's cookie and its pair.
    fn places(&self, see: &mut dyn FnMut(u64, Pair)) -> io::Result<()>;

    /// Takes the places of sockets that are gone, and counts each off at its backend. Returns how many there were.
    fn clear_places(&mut self, of: &HashSet<u64>) -> io::Result<usize>;

    /// How full ORIGINS and SPILL are: a pass over ORIGINS.
    fn places_in_use(&self) -> [Usage; 2];
}
