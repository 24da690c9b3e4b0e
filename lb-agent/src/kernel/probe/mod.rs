//! What a node can do, found out by trying, without a change to the node: everything that is made here is held by file
//! descriptors and by threads, and ends with them. No pin, no file, nothing in the node's own network namespace.

mod data_path;
mod devices;
mod packets;
mod pinned;
mod programs;

pub use self::data_path::OwnDataPath;
pub use self::devices::{DevicePrograms, programs_on_devices};
pub use self::packets::{DeviceHook, PacketTrial, try_packets};
pub use self::pinned::{PinnedSet, pinned_sets};
pub use self::programs::{LoadedPrograms, SocketAccess, load};
pub use super::bpf::btf::kernel as kernel_types;
pub use super::bpf::hooks::{ProgramsAtHook, programs_at};
pub use super::maps::sizes::Sizes;
pub use super::netfilter::{KubeProxyRules, kube_proxy_rules};
pub use super::node::memory_limit::{AGENT as AGENT_MEMORY, limit as memory_limit, needed};
pub use super::pins::lock::check_bpffs;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::maps::{footprint, shapes};
use super::pins::folder::LINKS;

/// Bytes of kernel memory that tables of these sizes take.
#[must_use]
pub fn memory_of_tables(sizes: Sizes) -> u64 {
    footprint::bytes(shapes::all(sizes), footprint::Machine::this())
}

/// The folder of the links in a pin folder.
#[must_use]
pub fn links(pin_dir: &Path) -> PathBuf {
    pin_dir.join(LINKS)
}

/// The names of all loaded programs, by id. Empty without CAP_SYS_ADMIN.
#[must_use]
pub fn program_names() -> HashMap<u32, String> {
    let programs = aya::programs::loaded_programs().filter_map(Result::ok);
    programs
        .map(|program| {
            let name = program.name_as_str().unwrap_or_default();
            (program.id(), name.to_owned())
        })
        .collect()
}
