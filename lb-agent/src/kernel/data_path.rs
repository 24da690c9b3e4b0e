//! Makes the data path ready on a cgroup: locks the pin folder, opens tables, attaches programs.

use std::path::PathBuf;

use super::bpf::grace::Grace;
use super::bpf::hooks::HookState;
use super::bpf::log::{self, LogLevel, ProgramLog};
use super::bpf::stats::Stats;
use super::maps::backing::Maps;
use super::maps::footprint;
use super::maps::sizes::Sizes;
use super::migrate::{self, InPlace};
use super::node::cgroup::Cgroup;
use super::node::error::KernelError;
use super::node::{capabilities, netns};
use super::pins::folder::Pins;
use super::pins::keeper::PinnedMap;

/// Where the data path lives.
#[derive(Clone, Debug)]
pub struct DataPathSettings {
    /// The root of the cgroup2 hierarchy when none is given.
    pub cgroup: Option<PathBuf>,
    /// On a BPF file system.
    pub pin_dir: PathBuf,
    pub sizes: Sizes,
    /// What the programs themselves log; off by default, and then compiled to nothing.
    pub program_log: LogLevel,
}

/// A data path that is attached.
#[derive(Debug)]
pub struct DataPath {
    pub maps: Maps,
    pub pinned: Vec<PinnedMap>,
    pub hooks: Vec<HookState>,
    pub cgroup: Cgroup,
    pub grace: Grace,
    /// SO_NETNS_COOKIE of the host's network namespace.
    pub host_network: u64,
    pub log: Option<ProgramLog>,
    /// Holds the folder's lock.
    pub pins: Pins,
    pub stats: Stats,
}

/// Locks the pin folder; [`KernelError::Locked`] when another agent has it. What is not fit is said before.
pub fn lock(settings: &DataPathSettings) -> Result<Pins, KernelError> {
    capabilities::check()?;
    Cgroup::open(settings.cgroup.as_deref())?;
    Pins::open(&settings.pin_dir)
}

/// Takes over the pinned tables, or makes them; loads the programs and puts them into place.
///
/// `pins`: of the same settings.
pub fn open(settings: &DataPathSettings, pins: Pins) -> Result<DataPath, KernelError> {
    let cgroup = Cgroup::open(settings.cgroup.as_deref())?;
    let grace = Grace::new()?;
    let InPlace {
        mut object,
        maps,
        hooks,
        lengths,
    } = migrate::put_into_place(&pins, settings.sizes, settings.program_log, &cgroup, &grace)?;
    tracing::info!(
        event = "tables.opened",
        bytes = footprint::bytes(lengths.shapes(), footprint::possible_cpus()),
        "the tables take this much kernel memory",
    );
    let log = log::reader(&mut object, settings.program_log)?;
    let stats = Stats::take(&mut object)?;
    // What a program of the last agent's time may still hold, before any of it is given out again.
    grace.wait()?;
    Ok(DataPath {
        maps,
        pinned: PinnedMap::all(&pins)?,
        hooks,
        cgroup,
        grace,
        host_network: netns::cookie()?,
        log,
        pins,
        stats,
    })
}
