//! The object of the programs, which is part of this binary, and how it is loaded.

use std::fmt::Write as _;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;

use aya::maps::{Map, MapError};
use aya::programs::{Program, ProgramError};
use aya::{Ebpf, EbpfError, EbpfLoader};

use super::log::LogLevel;
use super::socket_fields::SocketFields;
use super::{event_ring, kernel_function};
use crate::kernel::node::error::KernelError;
use crate::kernel::node::memory_limit;

/// Empty if `lb-ebpf` was not built before.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/lb-ebpf.o"));

/// The name of the program for packets of devices with an Ethernet header.
pub const PACKET: &str = "packet";
/// The name of the program for those of all other devices.
const PACKET_L3: &str = "packet_l3";

/// A map of the object, and the path of its pin.
#[derive(Debug)]
pub struct MapPin {
    pub name: &'static str,
    /// None: a new map that no file names.
    pub path: Option<PathBuf>,
    /// The number of elements of the existing map, or of a new one.
    pub length: u32,
}

/// Which programs to load, and what they do besides balancing.
#[derive(Clone, Copy, Debug)]
pub struct Programs {
    /// What they log.
    pub log: LogLevel,
    /// The program `packet` too. The others work without it, so its refusal is only reported.
    pub has_packets: bool,
    /// They count the round-trip times of TCP connections.
    pub has_latency: bool,
    /// They serve only the network namespaces in CLIENTS.
    pub has_clients: bool,
    /// They only choose and count, and let every call pass unchanged.
    pub is_shadow: bool,
    /// The time after which the kernel retransmits the SYN of a balanced connection, in jiffies; 0: its own, without that program.
    pub syn_timeout: u32,
}

/// Opens the pinned maps, makes the missing ones, and loads every program. Attaches nothing yet.
///
/// `memory`: bytes of kernel memory for the maps, which the error names if there is not enough.
pub fn load(maps: &[MapPin], memory: u64, programs: Programs) -> Result<Ebpf, KernelError> {
    load_and_tell(maps, memory, programs).map(|(object, _)| object)
}

/// As [`load`]. Also returns how the loaded programs read sockets.
pub fn load_and_tell(
    maps: &[MapPin],
    memory: u64,
    programs: Programs,
) -> Result<(Ebpf, SocketFields), KernelError> {
    let mut result = Err(KernelError::NoObject);
    for fields in SocketFields::of_kernel().attempts() {
        result = load_with(maps, memory, programs, fields).map(|object| (object, fields));
        match &result {
            Err(error @ KernelError::Program { .. }) => {
                tracing::debug!(
                    event = "programs.refused",
                    socket_fields = ?fields,
                    %error,
                    "the kernel refuses programs that read sockets in this way",
                );
            }
            _ => break,
        }
    }
    result
}

fn load_with(
    maps: &[MapPin],
    memory: u64,
    programs: Programs,
    fields: SocketFields,
) -> Result<Ebpf, KernelError> {
    if OBJECT.is_empty() {
        return Err(KernelError::NoObject);
    }
    let mut loader = EbpfLoader::new();
    for map in maps {
        // aya accepts a pinned map whatever its shape is.
        loader.map_max_entries(map.name, map.length);
        if let Some(path) = &map.path {
            loader.map_pin_path(map.name, path);
        }
    }
    let origins = maps.iter().find(|map| map.name == "ORIGINS");
    let mask = origins.map_or(1, |map| map.length) - 1;
    let level = programs.log.number();
    let has_latency = u32::from(programs.has_latency);
    let has_clients = u32::from(programs.has_clients);
    let is_shadow = u32::from(programs.is_shadow);
    loader.map_max_entries(event_ring::NAME, event_ring::length());
    let (has_context, cast, socket) = match fields.kernel_context {
        Some(context) => (1_u32, context.cast, context.socket),
        None => (0, 0, 0),
    };
    let object = kernel_function::link(OBJECT, cast);
    loader
        .override_global("ORIGINS_MASK", &mask, true)
        .override_global("COOKIE_OFFSET", &fields.cookie, true)
        .override_global("STATE_OFFSET", &fields.state, true)
        .override_global("FIRST_SUBFLOW_OFFSET", &fields.first_subflow, true)
        .override_global("BYTES_ACKED_OFFSET", &fields.bytes_acked, true)
        .override_global("SRTT_OFFSET", &fields.smoothed_rtt, true)
        .override_global("SMALLEST_RTT_OFFSET", &fields.smallest_rtt, true)
        .override_global("HAS_LATENCY", &has_latency, true)
        .override_global("HAS_CLIENTS", &has_clients, true)
        .override_global("HAS_SHADOW", &is_shadow, true)
        .override_global("SYN_TIMEOUT", &programs.syn_timeout, true)
        .override_global("HAS_KERNEL_CONTEXT", &has_context, true)
        .override_global("CONTEXT_SOCKET_OFFSET", &socket, true)
        .override_global(aya_log::LEVEL, &level, true);
    let mut object = loader
        .load(object.as_bytes())
        .map_err(|error| match error {
            EbpfError::MapError(MapError::CreateError { name, io_error }) if is_full(&io_error) => {
                no_memory(format!("table {name}"), memory)
            }
            EbpfError::MapError(MapError::CreateError { name, io_error }) => {
                KernelError::map("create", &name)(io_error)
            }
            // aya cannot parse the object, or a pinned map differs from the object's.
            error => KernelError::Object(chain(&error)),
        })?;
    for (name, program) in object.programs_mut() {
        let is_packet = matches!(program, Program::SchedClassifier(_));
        let is_of_outliers = matches!(program, Program::RawTracePoint(_));
        let is_of_syn_timeout = matches!(program, Program::SockOps(_));
        if is_packet && !programs.has_packets
            || is_of_outliers && fields.state == 0
            || is_of_syn_timeout && programs.syn_timeout == 0
        {
            continue;
        }
        let loaded = load_program(program).map_err(|error| match &error {
            ProgramError::LoadError { io_error, .. } if is_full(io_error) => {
                no_memory(format!("program {name}"), memory)
            }
            error => KernelError::Program {
                program: name.to_owned(),
                reason: reason(error),
            },
        });
        match loaded {
            Err(error) if is_packet => tracing::error!(
                event = "packet_path.program_refused",
                %error,
                "the packet path is off",
            ),
            Err(error) if is_of_outliers => tracing::debug!(
                event = "outliers.program_refused",
                %error,
                "outlier detection is not possible",
            ),
            loaded => loaded?,
        }
    }
    Ok(object)
}

fn is_full(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ENOMEM)
}

fn no_memory(what: String, tables: u64) -> KernelError {
    KernelError::Memory {
        what,
        tables,
        limit: memory_limit::limit(),
    }
}

fn load_program(program: &mut Program) -> Result<(), ProgramError> {
    match program {
        Program::CgroupSockAddr(program) => program.load(),
        Program::CgroupSock(program) => program.load(),
        Program::SchedClassifier(program) => program.load(),
        Program::RawTracePoint(program) => program.load(),
        Program::SockOps(program) => program.load(),
        _ => Err(ProgramError::UnexpectedProgramType),
    }
}

/// Why the kernel refuses the programs for packets; none if they are loaded.
pub fn packet_refusal(object: &mut Ebpf) -> Option<KernelError> {
    object.programs_mut().find_map(|(name, program)| {
        let Program::SchedClassifier(packet) = program else {
            return None;
        };
        if packet.fd().is_ok() {
            return None;
        }
        let error = packet.load().err()?;
        Some(KernelError::Program {
            program: name.to_owned(),
            reason: reason(&error),
        })
    })
}

/// The kernel's answer, and the last line of the verifier's log.
fn reason(error: &ProgramError) -> String {
    let ProgramError::LoadError {
        io_error,
        verifier_log,
    } = error
    else {
        return chain(error);
    };
    let log = verifier_log.to_string();
    // The kernel ends its log with figures (`print_verification_stats` in kernel/bpf/verifier.c).
    let is_figure = |line: &str| {
        let figures = ["processed ", "stack depth ", "verification time "];
        figures.iter().any(|figure| line.starts_with(figure))
    };
    let last = log
        .lines()
        .rev()
        .map(str::trim)
        .find(|line| !line.is_empty() && !is_figure(line));
    match last {
        Some(last) => format!("{io_error}: {last}"),
        None => io_error.to_string(),
    }
}

/// Takes a map out of the object.
pub fn take_map(object: &mut Ebpf, name: &'static str) -> Result<Map, KernelError> {
    object
        .take_map(name)
        .ok_or_else(|| KernelError::Object(format!("map {name} is missing")))
}

/// The programs for packets.
#[derive(Debug)]
pub struct PacketPrograms {
    /// For devices with an Ethernet header.
    pub ethernet: OwnedFd,
    /// For all others.
    pub others: OwnedFd,
}

/// The programs for packets, if they are loaded.
pub fn packet_programs(object: &Ebpf) -> Option<PacketPrograms> {
    let open = |name| {
        let program = object.program(name)?;
        program.fd().ok()?.as_fd().try_clone_to_owned().ok()
    };
    Some(PacketPrograms {
        ethernet: open(PACKET)?,
        others: open(PACKET_L3)?,
    })
}

/// An error with all its causes on one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let message = cause.to_string();
        if !line.ends_with(&message) {
            // Writing to a String can't fail.
            let _ = write!(line, ": {message}");
        }
        source = cause.source();
    }
    line
}
