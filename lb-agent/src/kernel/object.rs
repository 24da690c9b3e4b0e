//! The programs' object, which is part of this binary, and its way into the kernel.

use std::fmt::Write as _;
use std::io;
use std::path::Path;

use aya::maps::{MapError, MapInfo};
use aya::programs::{Program, ProgramError};
use aya::{Ebpf, EbpfError, EbpfLoader};

use super::pins::Pins;
use super::sets::TableSet;
use super::shapes::Shape;
use super::socket_fields::SocketFields;
use super::{KernelError, LogLevel, footprint, kernel_function, memory};

/// Empty when `lb-ebpf` was not built before.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/lb-ebpf.o"));

/// Reopens the maps that are pinned in a set and makes those that are not, and loads every program. Nothing is attached yet.
pub fn load(
    pins: &Pins,
    set: &TableSet,
    shapes: &[Shape],
    log: LogLevel,
) -> Result<Ebpf, KernelError> {
    let mut result = Err(KernelError::NoObject);
    for fields in SocketFields::of_kernel().attempts() {
        result = load_with(pins, set, shapes, log, fields);
        match &result {
            Err(error @ KernelError::Program { .. }) => {
                tracing::debug!("the kernel refuses the programs with {fields:?}: {error}");
            }
            _ => break,
        }
    }
    result
}

fn load_with(
    pins: &Pins,
    set: &TableSet,
    shapes: &[Shape],
    log: LogLevel,
    fields: SocketFields,
) -> Result<Ebpf, KernelError> {
    if OBJECT.is_empty() {
        return Err(KernelError::NoObject);
    }
    let mut sets = None;
    let mut loader = EbpfLoader::new();
    for shape in shapes {
        let path = pins.map_of(set, shape);
        // aya takes a pinned map as it is, whatever its shape.
        if let Some(info) = pins.existing(&path)? {
            check(shape, &info, &path, pins)?;
            sets = sets.or_else(|| (shape.name == "ORIGINS").then(|| info.max_entries()));
        } else if shape.name == "ORIGINS" {
            sets = Some(shape.length);
        }
        loader.map_max_entries(shape.name, shape.length);
        loader.map_pin_path(shape.name, path);
    }
    let mask = sets.unwrap_or(1) - 1;
    let level = log.number();
    let (has_context, cast, socket) = match fields.kernel_context {
        Some(context) => (1_u32, context.cast, context.socket),
        None => (0, 0, 0),
    };
    let object = kernel_function::link(OBJECT, cast);
    loader
        .override_global("ORIGINS_MASK", &mask, true)
        .override_global("COOKIE_OFFSET", &fields.cookie, true)
        .override_global("FIRST_SUBFLOW_OFFSET", &fields.first_subflow, true)
        .override_global("HAS_KERNEL_CONTEXT", &has_context, true)
        .override_global("CONTEXT_SOCKET_OFFSET", &socket, true)
        .override_global(aya_log::LEVEL, &level, true);
    let mut object = loader
        .load(object.as_bytes())
        .map_err(|error| match &error {
            EbpfError::MapError(MapError::CreateError { name, io_error }) if is_full(io_error) => {
                no_memory(format!("table {name}"), shapes)
            }
            error => KernelError::Maps(chain(error)),
        })?;
    for (name, program) in object.programs_mut() {
        load_program(program).map_err(|error| match &error {
            ProgramError::LoadError { io_error, .. } if is_full(io_error) => {
                no_memory(format!("program {name}"), shapes)
            }
            error => KernelError::Program {
                program: name.to_owned(),
                reason: reason(error),
            },
        })?;
    }
    Ok(object)
}

fn is_full(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ENOMEM)
}

fn no_memory(what: String, shapes: &[Shape]) -> KernelError {
    KernelError::Memory {
        what,
        tables: footprint::bytes(shapes.iter().copied(), footprint::possible_cpus()),
        limit: memory::limit(),
    }
}

/// Whether what is pinned there is such a map, of whatever length.
pub fn check(shape: &Shape, info: &MapInfo, path: &Path, pins: &Pins) -> Result<(), KernelError> {
    let Some((found, wanted)) = shape.mismatch(info) else {
        return Ok(());
    };
    Err(KernelError::Shape {
        path: path.to_owned(),
        pin_dir: pins.folder().to_owned(),
        found,
        wanted,
    })
}

fn load_program(program: &mut Program) -> Result<(), ProgramError> {
    match program {
        Program::CgroupSockAddr(program) => program.load(),
        Program::CgroupSock(program) => program.load(),
        _ => Err(ProgramError::UnexpectedProgramType),
    }
}

/// The kernel's answer, and the last thing that its verifier said.
fn reason(error: &ProgramError) -> String {
    let ProgramError::LoadError {
        io_error,
        verifier_log,
    } = error
    else {
        return chain(error);
    };
    let log = verifier_log.to_string();
    let last = log
        .lines()
        .rev()
        .map(str::trim)
        .find(|line| !line.is_empty() && !line.starts_with("processed "));
    match last {
        Some(last) => format!("{io_error}: {last}"),
        None => io_error.to_string(),
    }
}

/// An error with all its causes on one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let said = cause.to_string();
        if !line.ends_with(&said) {
            // Writing to a String can't fail.
            let _ = write!(line, ": {said}");
        }
        source = cause.source();
    }
    line
}
