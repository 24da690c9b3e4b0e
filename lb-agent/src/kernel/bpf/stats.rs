//! The counters of the programs, summed over all CPUs.

use std::fmt;

use aya::Ebpf;
use aya::maps::{MapData, PerCpuArray};
use lb_common::stats::{REFUSED_NO_BACKEND, REFUSED_UNKNOWN_ADDRESS, REFUSED_UNKNOWN_PORT};

use super::loader::take_map;
use crate::kernel::node::error::KernelError;

/// The counters of the programs.
pub struct Stats(PerCpuArray<MapData, u64>);

impl fmt::Debug for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.refusals().fmt(f)
    }
}

/// Calls that were ended with ECONNREFUSED, and why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refusals {
    pub no_backend: u64,
    pub unknown_port: u64,
    pub unknown_address: u64,
}

impl Stats {
    pub fn take(object: &mut Ebpf) -> Result<Self, KernelError> {
        let map = take_map(object, "STATS")?;
        PerCpuArray::try_from(map)
            .map(Self)
            .map_err(|error| KernelError::Object(format!("map STATS: {error}")))
    }

    /// The counts since the tables were made.
    #[must_use]
    pub fn refusals(&self) -> Refusals {
        Refusals {
            no_backend: self.sum(REFUSED_NO_BACKEND),
            unknown_port: self.sum(REFUSED_UNKNOWN_PORT),
            unknown_address: self.sum(REFUSED_UNKNOWN_ADDRESS),
        }
    }

    fn sum(&self, what: u32) -> u64 {
        let of_cpus = self.0.get(&what, 0);
        of_cpus.map_or(0, |values| values.iter().sum())
    }
}
