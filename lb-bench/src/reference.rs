//! The programs to compare with: loaded, with filled tables, attached. They stay as long as the returned object.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use aya::maps::HashMap;
use aya::programs::{CgroupAttachMode, Program, SchedClassifier, TcAttachType};
use aya::{Ebpf, EbpfLoader};
use lb_common::{TCP, UDP};

use self::tables::{BackendValue, ServiceKey, ServiceValue};
use crate::contender::{Contender, Hook};
use crate::services::{self, BACKEND_PORT, BACKENDS};

#[path = "../../lb-ebpf/reference/tables.rs"]
mod tables;

/// A set of programs in the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Design {
    /// The classic design.
    Classic,
    /// Programs that do nothing.
    Empty,
}

impl Design {
    /// The program's name for a hook.
    fn program(self, hook: Hook) -> String {
        let design = match self {
            Self::Classic => "classic",
            Self::Empty => "empty",
        };
        let hook = match hook {
            Hook::Connect4 => "connect",
            Hook::Sendmsg4 => "sendmsg",
            Hook::Recvmsg4 => "recvmsg",
            Hook::Getpeername4 => "getpeer",
            Hook::SockRelease => "release",
        };
        format!("{design}_{hook}")
    }
}

/// The classic design with its tables filled.
pub(crate) fn classic(object: &Path, services: usize, contender: &mut Contender) -> Result<Ebpf> {
    let mut ebpf = attach(object, Design::Classic, services, contender)?;
    fill(&mut ebpf, services)?;
    Ok(ebpf)
}

/// Loads the object with tables for this number of Services, and attaches its programs to the contender's cgroup.
pub(crate) fn attach(
    object: &Path,
    design: Design,
    services: usize,
    contender: &mut Contender,
) -> Result<Ebpf> {
    let bytes = fs::read(object).with_context(|| format!("cannot read {}", object.display()))?;
    let room = u32::try_from(services.next_power_of_two().max(1024))?;
    let mut ebpf = EbpfLoader::new()
        .map_max_entries("SERVICES", 8 * room)
        .map_max_entries("BACKENDS", 4 * room)
        .load(&bytes)
        .with_context(|| format!("cannot load {}", object.display()))?;
    let cgroup = fs::File::open(contender.cgroup().path())?;
    for hook in Hook::ALL {
        let name = design.program(hook);
        let program = ebpf
            .program_mut(&name)
            .with_context(|| format!("{} has no program {name}", object.display()))?;
        let mode = CgroupAttachMode::Single;
        match program {
            Program::CgroupSockAddr(program) => {
                program.load()?;
                program.attach(&cgroup, mode)?;
            }
            Program::CgroupSock(program) => {
                program.load()?;
                program.attach(&cgroup, mode)?;
            }
            _ => bail!("{name} is neither a cgroup_sock_addr nor a cgroup_sock program"),
        }
        contender.set_program(hook, program.info()?.id());
    }
    Ok(ebpf)
}

/// Loads the object and attaches the empty classifier at tc ingress of these devices of the calling thread's network namespace.
/// Returns the kernel's id of the program too.
pub(crate) fn empty_packet(object: &Path, devices: &[&str]) -> Result<(Ebpf, u32)> {
    let mut ebpf =
        Ebpf::load_file(object).with_context(|| format!("cannot load {}", object.display()))?;
    let program: &mut SchedClassifier = ebpf
        .program_mut("empty_packet")
        .with_context(|| format!("{} has no program empty_packet", object.display()))?
        .try_into()?;
    program.load()?;
    for device in devices {
        program
            .attach(device, TcAttachType::Ingress)
            .with_context(|| format!("cannot attach to {device}"))?;
    }
    let id = program.info()?.id();
    Ok((ebpf, id))
}

/// Writes the Services into the tables of the classic design, each for TCP and for UDP.
fn fill(ebpf: &mut Ebpf, services: usize) -> Result<()> {
    let map = ebpf.map_mut("BACKENDS").context("no map BACKENDS")?;
    let mut backends: HashMap<_, u32, BackendValue> = HashMap::try_from(map)?;
    let number = u32::try_from(services * BACKENDS.len())?;
    for (id, address) in (0..number).zip(BACKENDS.iter().cycle()) {
        let backend = BackendValue {
            address: network_order(*address),
            port: u32::from(BACKEND_PORT.to_be()),
        };
        backends.insert(id, backend, 0)?;
    }
    let map = ebpf.map_mut("SERVICES").context("no map SERVICES")?;
    let mut table: HashMap<_, ServiceKey, ServiceValue> = HashMap::try_from(map)?;
    for number in 0..services {
        let frontend = services::frontend(number);
        for protocol in [TCP, UDP] {
            let mut key = ServiceKey {
                address: network_order(*frontend.ip()),
                port: frontend.port().to_be(),
                slot: 0,
                protocol,
                zero: [0; 3],
            };
            let mut value = ServiceValue {
                backend: 0,
                slots: u32::try_from(BACKENDS.len())?,
            };
            table.insert(key, value, 0)?;
            for index in 0..BACKENDS.len() {
                key.slot = u16::try_from(index + 1)?;
                value.backend = u32::try_from(number * BACKENDS.len() + index)?;
                table.insert(key, value, 0)?;
            }
        }
    }
    Ok(())
}

fn network_order(address: Ipv4Addr) -> u32 {
    u32::from(address).to_be()
}

/// aya's `Pod` is another trait than bytemuck's, which is derived and so checked by the compiler.
macro_rules! pod {
    ($($name:ty),*) => {$(
        // SAFETY: the type is `bytemuck::Pod`: any bytes are a value of it, and it has no padding.
        unsafe impl aya::Pod for $name where $name: bytemuck::Pod {}
    )*};
}

pod!(ServiceKey, ServiceValue, BackendValue);
