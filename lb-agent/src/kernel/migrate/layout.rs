//! The layout of one version's tables, and how to convert it to the current one.

use lb_common::{Backend, TABLES_VERSION, View};

/// How to read one version's tables.
#[derive(Debug)]
pub struct Layout {
    pub version: u32,
    /// The maps whose elements have another layout than the current one.
    pub differs: &'static [&'static str],
    pub backend: fn([u64; Backend::WORDS]) -> Backend,
    pub view: fn([u64; View::WORDS]) -> View,
    pub affinity_key: fn([u64; 2]) -> [u64; 2],
    /// The words of a backend's line that the programs add to: connections, active, failures.
    pub counters: [usize; COUNTERS],
}

/// The number of counters of a backend.
pub const COUNTERS: usize = 3;

/// The layout of this version.
pub static OURS: Layout = Layout {
    version: TABLES_VERSION,
    differs: &[],
    backend: bytemuck::must_cast,
    view: bytemuck::must_cast,
    affinity_key: |key| key,
    counters: [
        Backend::CONNECTIONS_WORD,
        Backend::ACTIVE_WORD,
        Backend::FAILURES_WORD,
    ],
};
