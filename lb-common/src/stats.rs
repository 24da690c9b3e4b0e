//! STATS: what the programs count, one word for each on each CPU.

/// How many words STATS has.
pub const WORDS: u32 = 8;

/// Calls that were refused because the frontend has no backend.
pub const REFUSED_NO_BACKEND: u32 = 0;

/// Calls that were refused because the ClusterIP has no such port.
pub const REFUSED_UNKNOWN_PORT: u32 = 1;

/// Calls that were refused because no Service has the address, which is in a Service CIDR.
pub const REFUSED_UNKNOWN_ADDRESS: u32 = 2;
