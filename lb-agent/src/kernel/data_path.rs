//! Makes the data path ready on a cgroup: locks the pin folder, opens tables, attaches programs.

use std::path::PathBuf;

use aya::Ebpf;

use super::bpf::grace::Grace;
use super::bpf::hooks::HookState;
use super::bpf::loader::{PACKET, packet_program};
use super::bpf::log::{self, LogLevel, ProgramLog};
use super::bpf::stats::Stats;
use super::bpf::sys;
use super::maps::backing::Maps;
use super::maps::footprint;
use super::maps::sizes::Sizes;
use super::migrate::{self, InPlace, Programs};
use super::node::cgroup::Cgroup;
use super::node::error::KernelError;
use super::node::{capabilities, netns};
use super::packets::devices::{self, DevicePattern};
use super::packets::hook::{self, PacketHook};
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
    /// None: no packet path.
    pub packets: Option<PacketSettings>,
}

/// The settings of the packet path.
#[derive(Clone, Debug)]
pub struct PacketSettings {
    /// The devices of the program; empty: all but the loopback device.
    pub devices: Vec<DevicePattern>,
}

/// An attached data path.
#[derive(Debug)]
pub struct DataPath {
    pub maps: Maps,
    pub pinned: Vec<PinnedMap>,
    pub hooks: Vec<HookState>,
    /// None if the packet path is off, or the kernel cannot have it.
    pub packets: Option<PacketHook>,
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
    } = migrate::put_into_place(
        &pins,
        settings.sizes,
        Programs {
            log: settings.program_log,
            has_packets: settings.packets.is_some(),
        },
        &cgroup,
        &grace,
    )?;
    let packets = open_packets(settings, &object, &pins)?;
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
        packets,
        cgroup,
        grace,
        host_network: netns::cookie()?,
        log,
        pins,
        stats,
    })
}

/// The program `packet`, attached to nothing new yet. Without the packet path, removes what an earlier agent left of it.
fn open_packets(
    settings: &DataPathSettings,
    object: &Ebpf,
    pins: &Pins,
) -> Result<Option<PacketHook>, KernelError> {
    let program = match &settings.packets {
        Some(_) => packet_program(object),
        None => None,
    };
    let Some(program) = program else {
        let devices = devices::list(&[]).unwrap_or_default();
        let removed = hook::detach_all(&pins.links(), &devices)?;
        if removed > 0 && sys::has_tcx() {
            tracing::info!(
                event = "packet_path.removed",
                count = removed,
                "detached the program of an earlier agent's packet path",
            );
        }
        return Ok(None);
    };
    PacketHook::new(program, pins.links())
        .map(Some)
        .map_err(|error| KernelError::Object(format!("program {PACKET}: {error}")))
}
