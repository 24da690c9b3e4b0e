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

/// The location of the data path.
#[derive(Clone, Debug)]
pub struct DataPathSettings {
    /// None: the root of the cgroup2 hierarchy.
    pub cgroup: Option<PathBuf>,
    /// A folder on a BPF file system.
    pub pin_dir: PathBuf,
    pub sizes: Sizes,
    /// What the programs log. The default is nothing, and then the verifier removes the code.
    pub program_log: LogLevel,
}

/// An attached data path.
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
    /// Holds the lock of the folder.
    pub pins: Pins,
    pub stats: Stats,
}

/// Locks the pin folder. Returns [`KernelError::Locked`] if another agent holds it, and reports an unsuitable node
/// before.
pub fn lock(settings: &DataPathSettings) -> Result<Pins, KernelError> {
    capabilities::check()?;
    Cgroup::open(settings.cgroup.as_deref())?;
    Pins::open(&settings.pin_dir)
}

/// Takes over the pinned tables, or makes them; then loads the programs and attaches them.
///
/// `pins`: made with the same settings.
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
    // A program that ran under the last agent may still use freed ids, so none is reused before.
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
