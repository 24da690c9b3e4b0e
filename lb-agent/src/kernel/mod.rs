//! The only room that knows aya: load, attach, pin, probe.
//!
//! [`open`] makes the data path ready on a cgroup and gives back what the tables are written to. Nothing here
//! is undone when the agent ends: pinned maps and links go on without it, until [`unload`].

mod btf;
mod cgroup;
mod error;
mod filter;
mod fit;
mod footprint;
mod grace;
mod holder;
mod hooks;
mod host;
mod keeper;
mod kernel_function;
mod log;
mod look;
mod mapped;
mod maps;
mod memory;
mod migrate;
mod mountinfo;
mod near;
mod netns;
mod object;
mod owner;
mod pins;
mod places;
mod sets;
mod shapes;
mod sizes;
mod socket_fields;
mod stats;
mod steps;
mod sys;

use std::path::PathBuf;

pub use self::cgroup::Cgroup;
pub use self::error::KernelError;
pub use self::grace::Grace;
pub use self::holder::of as holder_of;
pub use self::hooks::HookState;
pub use self::keeper::{Keeper, Kept, PinnedMap};
pub use self::log::{LogLevel, ProgramLog};
pub use self::look::Look;
pub use self::maps::Maps;
use self::migrate::InPlace;
pub use self::pins::{Pins, unload};
pub use self::sizes::{LEAST, MOST_ENDPOINTS, MOST_SERVICES, Sizes};
pub use self::stats::{Refusals, Stats};
pub use self::sys::give_memory_back;

/// Where the data path lives.
#[derive(Clone, Debug)]
pub struct Settings {
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
pub struct Opened {
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
pub fn lock(settings: &Settings) -> Result<Pins, KernelError> {
    fit::check_capabilities()?;
    Cgroup::open(settings.cgroup.as_deref())?;
    Pins::open(&settings.pin_dir)
}

/// Takes over the pinned tables, or makes them; loads the programs and puts them into place.
///
/// `pins`: of the same settings.
pub fn open(settings: &Settings, pins: Pins) -> Result<Opened, KernelError> {
    let cgroup = Cgroup::open(settings.cgroup.as_deref())?;
    let grace = Grace::new()?;
    let InPlace {
        mut object,
        maps,
        hooks,
        lengths,
    } = migrate::put_into_place(&pins, settings, &cgroup, &grace)?;
    tracing::info!(
        "the tables take {} MB of kernel memory",
        footprint::bytes(lengths.shapes(), footprint::possible_cpus()).div_ceil(1_000_000)
    );
    let log = log::reader(&mut object, settings.program_log)?;
    let stats = Stats::take(&mut object)?;
    // What a program of the last agent's time may still hold, before any of it is given out again.
    grace.wait()?;
    Ok(Opened {
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
