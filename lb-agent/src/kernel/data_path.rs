//! Makes the data path ready on a cgroup: locks the pin folder, opens tables, attaches programs.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aya::Ebpf;
use lb_common::client::SELECTION;

use super::bpf::events::ProgramEvents;
use super::bpf::failure_hooks::FailureHooks;
use super::bpf::grace::Grace;
use super::bpf::hooks::HookState;
use super::bpf::loader::{PACKET, Programs, packet_programs};
use super::bpf::log::{self, LogLevel, ProgramLog};
use super::bpf::stats::Stats;
use super::bpf::syn_timeout::{self, SynTimeout};
use super::maps::backing::Maps;
use super::maps::clients::{self, ClientMap, StartClients};
use super::maps::footprint;
use super::maps::service_counters::ServiceCounterMap;
use super::maps::sizes::Sizes;
use super::migrate::{self, InPlace};
use super::netfilter::{self, MASQUERADE_MARK, Netfilter, NetfilterError, Ruleset};
use super::node::cgroup::Cgroup;
use super::node::error::KernelError;
use super::node::{capabilities, netns};
use super::packets::attacher;
use super::packets::devices::{self, DevicePattern};
use super::packets::hook::PacketHook;
use super::pins::folder::Pins;
use super::pins::keeper::PinnedMap;
use super::pins::sets;
use super::pins::unload::{self, Unloaded, UnloadedPackets};
use crate::duties::sysctls::{Sysctl, SysctlFiles};
use crate::tables::{ReadTables as _, Table};

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
    /// The programs count the round-trip times of TCP connections.
    pub has_latency: bool,
    /// The programs choose and count, and change nothing.
    pub is_shadow: bool,
    /// When the kernel retransmits the SYN of a balanced connection; none: after its own time-out.
    pub syn_timeout: Option<Duration>,
    /// None: no packet path.
    pub packets: Option<PacketSettings>,
}

/// The packet path, or why there will be none. Services still work for sockets.
pub type Packets = Result<OpenedPackets, PacketProgramError>;

#[derive(Debug, thiserror::Error)]
#[error(
    "cannot load the BPF program `packet`: its refusal is in the log; start the agent with --packet-path off"
)]
pub struct PacketProgramError;

/// A packet path whose program is not attached yet.
#[derive(Debug)]
pub struct OpenedPackets {
    pub hook: PacketHook,
    /// The rules of netfilter, as they should be.
    pub ruleset: Ruleset,
    /// Why netfilter cannot be used now; [`open_ruleset`] tries again.
    pub error: Option<NetfilterError>,
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
    /// None if the packet path is off.
    pub packets: Option<Packets>,
    pub cgroup: Cgroup,
    pub grace: Grace,
    /// SO_NETNS_COOKIE of the host's network namespace.
    pub host_network: u64,
    pub log: Option<ProgramLog>,
    /// Holds the lock of the folder.
    pub pins: Pins,
    pub stats: Stats,
    pub events: ProgramEvents,
    pub failure_hooks: FailureHooks,
    pub syn_timeout: Option<SynTimeout>,
    pub counters: ServiceCounterMap,
    pub clients: ClientMap,
}

/// Locks the pin folder. Returns [`KernelError::Locked`] if another agent holds it, and reports an unsuitable node
/// before.
pub fn lock(settings: &DataPathSettings) -> Result<Pins, KernelError> {
    capabilities::check()?;
    Cgroup::open(settings.cgroup.as_deref())?;
    Pins::open(&settings.pin_dir)
}

/// The path of the cgroup that the settings name.
pub fn cgroup_path(settings: &DataPathSettings) -> Result<PathBuf, KernelError> {
    Cgroup::open(settings.cgroup.as_deref()).map(|cgroup| cgroup.path)
}

/// The selection by which an earlier agent has filled CLIENTS ([`lb_common::client::SELECTION`]); 0: its programs serve all clients.
/// None: there are no tables.
pub fn pinned_selection(pins: &Pins) -> Result<Option<u64>, KernelError> {
    let sets = sets::found(pins)?;
    let Some(current) = sets.last() else {
        return Ok(None);
    };
    let pin = current.folder.join(clients::NAME);
    if !pin.exists() {
        return Ok(Some(0));
    }
    let selection = ClientMap::at(&pin)?.get(SELECTION);
    let selection = selection.map_err(KernelError::pin("read the pinned map", &pin))?;
    Ok(Some(selection.unwrap_or_default()))
}

/// Takes over the pinned tables, or makes them; then loads the programs and attaches them.
///
/// `pins`: made with the same settings.
pub fn open(
    settings: &DataPathSettings,
    pins: Pins,
    clients: &StartClients,
) -> Result<DataPath, KernelError> {
    let cgroup = Cgroup::open(settings.cgroup.as_deref())?;
    let grace = Grace::new()?;
    let InPlace {
        mut object,
        mut maps,
        clients: client_map,
        hooks,
        lengths,
    } = migrate::put_into_place(
        &pins,
        settings.sizes,
        Programs {
            log: settings.program_log,
            has_packets: settings.packets.is_some(),
            has_latency: settings.has_latency,
            has_clients: !matches!(clients, StartClients::Off),
            is_shadow: settings.is_shadow,
            syn_timeout: syn_timeout::jiffies(settings.syn_timeout)
                .map_err(KernelError::system("read the length of a jiffy"))?,
        },
        clients,
        &cgroup,
        &grace,
    )?;
    let packets = open_packets(settings, &object, &pins, &mut maps)?;
    tracing::info!(
        event = "tables.opened",
        bytes = footprint::bytes(lengths.shapes(), footprint::Machine::this()),
        "the tables take this much kernel memory",
    );
    let log = log::reader(&mut object, settings.program_log)?;
    let stats = Stats::take(&mut object)?;
    let events = ProgramEvents::take(&mut object)?;
    let counters = ServiceCounterMap::take(&mut object)?;
    let failure_hooks = FailureHooks::of(&object);
    let syn_timeout = SynTimeout::attach(&object, &cgroup)?;
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
        events,
        failure_hooks,
        syn_timeout,
        counters,
        clients: client_map,
    })
}

/// Makes the rules of netfilter, and prepares the program for the node's devices. Without the packet path, removes what an earlier
/// agent left of it.
fn open_packets(
    settings: &DataPathSettings,
    object: &Ebpf,
    pins: &Pins,
    maps: &mut Maps,
) -> Result<Option<Packets>, KernelError> {
    if settings.packets.is_none() {
        if !remove_packets(&pins.links())?.is_empty() {
            tracing::info!(
                event = "packet_path.removed",
                "removed the packet path of an earlier agent",
            );
        }
        return Ok(None);
    }
    let Some(programs) = packet_programs(object) else {
        return Ok(Some(Err(PacketProgramError)));
    };
    let ruleset = Ruleset {
        capacity: maps.length(Table::Backends),
        masquerade_mark: MASQUERADE_MARK,
        drops_invalid: !is_liberal(),
    };
    let opened = open_ruleset(ruleset);
    let hook = PacketHook::new(programs, pins.links())
        .map_err(|error| KernelError::Object(format!("program {PACKET}: {error}")))?;
    Ok(Some(Ok(OpenedPackets {
        hook,
        ruleset,
        error: opened.map(|netfilter| maps.use_nat(netfilter)).err(),
    })))
}

/// Makes or repairs the rules of netfilter: see [`Netfilter::open`].
pub fn open_ruleset(ruleset: Ruleset) -> Result<Netfilter, NetfilterError> {
    let (netfilter, repaired) = Netfilter::open(ruleset)?;
    if !repaired.parts.is_empty() {
        let parts: Vec<String> = repaired.parts.iter().map(ToString::to_string).collect();
        tracing::info!(
            event = "packet_path.ruleset_written",
            parts = parts.join(", "),
            "wrote the nftables table inet socklb",
        );
    }
    Ok(netfilter)
}

/// Whether conntrack accepts TCP packets out of their window, so that it calls none of them invalid.
fn is_liberal() -> bool {
    let value = SysctlFiles::default().read(Sysctl::TcpBeLiberal);
    value.is_ok_and(|value| value != 0)
}

/// Removes the program from all devices, and the rules of netfilter.
fn remove_packets(links: &Path) -> Result<UnloadedPackets, KernelError> {
    let devices = devices::list(&[]).unwrap_or_default();
    let devices = attacher::detach_all(links, &devices)?;
    let has_table = netfilter::unload().map_err(|error| {
        KernelError::system("remove the nftables table")(io::Error::other(error))
    })?;
    Ok(UnloadedPackets { devices, has_table })
}

/// Removes the data path: see [`super::pins::unload::unload`].
pub fn unload(folder: &Path) -> Result<Option<Unloaded>, KernelError> {
    unload::unload(folder, remove_packets)
}
