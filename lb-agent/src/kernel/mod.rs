//! The only room that knows aya: load, attach, pin, probe.
//!
//! [`open`] makes the data path ready on a cgroup and gives back what the tables are written to. Nothing here
//! is undone when the agent ends: pinned maps and links go on without it, until [`unload`].

mod bpf;
mod data_path;
mod maps;
mod migrate;
mod node;
mod pins;

pub use self::bpf::grace::Grace;
pub use self::bpf::hooks::HookState;
pub use self::bpf::log::{LogLevel, ProgramLog};
pub use self::bpf::metrics::RefusalMetrics;
pub use self::bpf::stats::{Refusals, Stats};
pub use self::bpf::sys::give_memory_back;
pub use self::data_path::{DataPath, DataPathSettings, lock, open};
pub use self::maps::backing::Maps;
pub use self::maps::entry_reader::EntryReader;
pub use self::maps::sizes::{LEAST, MOST_ENDPOINTS, MOST_SERVICES, Sizes};
pub use self::node::cgroup::Cgroup;
pub use self::node::error::KernelError;
pub use self::pins::folder::Pins;
pub use self::pins::holder::of as holder_of;
pub use self::pins::keeper::{Keeper, Kept, PinnedMap};
pub use self::pins::read_tables::read_tables;
pub use self::pins::unload::unload;
