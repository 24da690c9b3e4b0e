//! Loads the programs of this build, as a start does, on small tables that no file names.

use aya::Ebpf;

use crate::kernel::bpf::loader::{
    self, MapPin, PacketPrograms, Programs, packet_programs, packet_refusal,
};
use crate::kernel::bpf::log::LogLevel;
use crate::kernel::bpf::socket_fields::SocketFields;
use crate::kernel::maps::{footprint, shapes};
use crate::kernel::node::error::KernelError;

/// How the loaded programs read sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketAccess {
    /// Through `bpf_cast_to_kern_ctx`, and the fields of TCP sockets by a helper.
    All,
    /// Not the fields of TCP sockets, nor MPTCP: the kernel allows no helper that reads its memory (lockdown).
    NoHelper,
    /// Without `bpf_cast_to_kern_ctx`.
    NoFunction,
    /// Nothing: no BTF, or neither the function nor the helper.
    None,
}

/// The programs, loaded and attached to nothing; none of them stays when this value is dropped.
#[derive(Debug)]
pub struct LoadedPrograms {
    object: Ebpf,
    pub access: SocketAccess,
    /// The programs for packets, or why the kernel refuses them.
    pub packets: Result<PacketPrograms, KernelError>,
}

impl LoadedPrograms {
    /// The number of programs.
    #[must_use]
    pub fn count(&self) -> usize {
        let loaded = self.object.programs();
        loaded.filter(|(_, program)| program.fd().is_ok()).count()
    }
}

/// Loads all programs.
///
/// # Errors
/// The kernel refuses a program for sockets or a table.
pub fn load() -> Result<LoadedPrograms, KernelError> {
    let (mut object, fields) = load_object(Extent::All)?;
    let packets = match packet_programs(&object) {
        Some(programs) => Ok(programs),
        None => Err(packet_refusal(&mut object)
            .unwrap_or_else(|| KernelError::Object("a program for packets is missing".to_owned()))),
    };
    Ok(LoadedPrograms {
        access: access(fields),
        object,
        packets,
    })
}

/// Which programs a trial loads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// Those for packets too, and the look-up of clients.
    All,
    /// Those for sockets, which serve every client.
    Sockets,
}

pub(super) fn load_object(extent: Extent) -> Result<(Ebpf, SocketFields), KernelError> {
    let maps: Vec<MapPin> = shapes::small()
        .map(|shape| MapPin {
            name: shape.name,
            path: None,
            length: shape.length,
        })
        .collect();
    let memory = footprint::bytes(shapes::small(), footprint::Machine::this());
    let programs = Programs {
        log: LogLevel::Off,
        has_packets: extent == Extent::All,
        has_latency: true,
        has_clients: extent == Extent::All,
        is_shadow: false,
        syn_timeout: 0,
    };
    loader::load_and_tell(&maps, memory, programs)
}

const fn access(fields: SocketFields) -> SocketAccess {
    match (fields.kernel_context.is_some(), fields.bytes_acked > 0) {
        (true, true) => SocketAccess::All,
        (true, false) => SocketAccess::NoHelper,
        (false, true) => SocketAccess::NoFunction,
        (false, false) => SocketAccess::None,
    }
}
