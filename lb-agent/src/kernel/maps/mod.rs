//! The tables as maps of the kernel: how large they are, and how they are read and written.

pub mod backing;
pub mod entries;
pub mod filter;
pub mod footprint;
pub mod hash;
pub mod lengths;
pub mod mapped;
pub mod near;
pub mod pinned;
pub mod shapes;
pub mod sizes;
pub mod snapshot;
