//! The only module that uses aya: loads, attaches, pins, probes.
//!
//! [`open`] makes the data path ready on a cgroup and returns the maps for the tables. The end of the agent undoes
//! nothing here: pinned maps and links keep working until [`unload`].

mod bpf;
mod data_path;
mod maps;
mod migrate;
pub mod netfilter;
mod node;
mod packets;
mod pins;
pub mod probe;

pub use self::bpf::events::ProgramEvents;
pub use self::bpf::failure_hooks::{FailureHookError, FailureHooks};
pub use self::bpf::grace::Grace;
pub use self::bpf::hooks::HookState;
pub use self::bpf::log::{LogLevel, ProgramLog};
pub use self::bpf::metrics::RefusalMetrics;
pub use self::bpf::stats::{Refusals, Stats};
pub use self::bpf::syn_timeout::SynTimeout;
pub use self::bpf::sys::give_memory_back;
pub use self::data_path::{
    DataPath, DataPathSettings, OpenedPackets, PacketProgramError, PacketSettings, Packets,
    cgroup_path, lock, open, open_ruleset, pinned_selection, unload,
};
pub use self::maps::backing::Maps;
pub use self::maps::clients::{ClientMap, Clients, StartClients};
pub use self::maps::entry_reader::EntryReader;
pub use self::maps::pinned::PinnedMaps;
pub use self::maps::service_counters::ServiceCounterMap;
pub use self::maps::sizes::{LEAST, MOST_ENDPOINTS, MOST_SERVICES, Sizes};
pub use self::netfilter::{
    Counters as PacketCounters, Netfilter, NetfilterError, PacketMetrics, Part as RulesetPart,
    Ruleset, Watch as RulesetWatch, elements as nat_elements,
};
pub use self::node::cgroup::Cgroup;
pub use self::node::error::KernelError;
pub use self::node::netns::cookie as network_cookie;
pub use self::packets::devices::{
    Device, DevicePattern, list as list_devices, watch as watch_devices,
};
pub use self::packets::hook::{Changes as DeviceChanges, PacketHook};
pub use self::pins::folder::Pins;
pub use self::pins::holder::of as holder_of;
pub use self::pins::keeper::{Keeper, Kept, PinnedMap};
pub use self::pins::read_tables::read_tables;
pub use self::pins::unload::Unloaded;
