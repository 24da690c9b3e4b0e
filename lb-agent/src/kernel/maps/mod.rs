//! The tables as maps of the kernel: their sizes, and how the agent reads and writes them.

pub mod arrays;
pub mod backing;
pub mod clients;
pub mod entries;
pub mod entry_reader;
pub mod filter;
pub mod footprint;
pub mod hash;
pub mod lengths;
pub mod mapped;
pub mod near_frontends;
pub mod pinned;
pub mod service_counters;
pub mod shapes;
pub mod sizes;
pub mod source_ranges;
