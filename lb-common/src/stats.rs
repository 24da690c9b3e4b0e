//! STATS: a per-CPU array of 64-bit counters that the programs increment.

/// Number of counters in STATS; unused ones are 0.
pub const WORDS: u32 = 8;

/// Index of: calls refused because the frontend has no backend.
pub const REFUSED_NO_BACKEND: u32 = 0;

/// Index of: calls refused because the ClusterIP has no such port.
pub const REFUSED_UNKNOWN_PORT: u32 = 1;

/// Index of: calls refused because no Service has the address, which is in a Service CIDR.
pub const REFUSED_UNKNOWN_ADDRESS: u32 = 2;
