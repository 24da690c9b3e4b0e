//! The hooks: attached through pinned links, and replaced in them without a gap.

use std::fs;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use aya::Ebpf;
use aya::programs::links::FdLink;
use aya::programs::{CgroupAttachMode, Program, ProgramError, ProgramInfo};

use super::pins::Pins;
use super::{Cgroup, KernelError, sys};

/// In the order in which they are put into place: first those that read and give back ways, then those that
/// claim them, so that what a new program writes is never read by an old one.
const HOOKS: [&str; 9] = [
    "getpeername4",
    "getpeername6",
    "recvmsg4",
    "recvmsg6",
    "sock_release",
    "connect4",
    "connect6",
    "sendmsg4",
    "sendmsg6",
];

/// A program that is in place.
#[derive(Debug)]
pub struct HookState {
    pub name: &'static str,
    pub program: u32,
    /// False: the link of an earlier agent, with a new program in it.
    pub is_new: bool,
    /// To open it again by its id would take CAP_SYS_ADMIN.
    open: OwnedFd,
}

impl HookState {
    /// How often the program ran and for how many ns; all 0 unless the kernel's statistics are on
    /// (`sysctl kernel.bpf_stats_enabled`).
    #[must_use]
    pub fn run_stats(&self) -> (u64, u64) {
        sys::run_stats(self.open.as_fd()).unwrap_or_default()
    }
}

/// Attaches each program, or swaps it into the link that is pinned already.
pub fn put_into_place(
    object: &mut Ebpf,
    pins: &Pins,
    cgroup: &Cgroup,
) -> Result<Vec<HookState>, KernelError> {
    HOOKS
        .into_iter()
        .map(|name| {
            let program = object
                .program_mut(name)
                .ok_or_else(|| KernelError::Program {
                    program: name.to_owned(),
                    reason: "it is not in the object".to_owned(),
                })?;
            let failed = |error| KernelError::Attach {
                program: name.to_owned(),
                cgroup: cgroup.path.clone(),
                error,
            };
            let pin = pins.link(name);
            let is_new = !swap(program, &pin, cgroup).map_err(failed)?;
            if is_new {
                attach(program, &pin, cgroup).map_err(failed)?;
            }
            let info = info(program).map_err(|error| failed(io::Error::other(error)))?;
            let open = fd(program).map_err(|error| failed(io::Error::other(error)))?;
            Ok(HookState {
                name,
                program: info.id(),
                is_new,
                open: open.try_clone_to_owned().map_err(failed)?,
            })
        })
        .collect()
}

/// Puts the program into the pinned link, if there is one on this cgroup.
fn swap(program: &Program, pin: &Path, cgroup: &Cgroup) -> io::Result<bool> {
    let link = match sys::object_at(pin) {
        Ok(link) => link,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    let attached_to = sys::cgroup_of(link.as_fd())?;
    if attached_to != cgroup.id {
        tracing::warn!(
            "{} was attached to another cgroup (id {}); attaching to {} instead",
            pin.display(),
            attached_to,
            cgroup.path.display()
        );
        return Ok(false);
    }
    let program = fd(program).map_err(io::Error::other)?;
    sys::update_link(link.as_fd(), program)?;
    Ok(true)
}

/// Makes a link and pins it in place of what was pinned there.
fn attach(program: &mut Program, pin: &Path, cgroup: &Cgroup) -> io::Result<()> {
    let link = new_link(program, cgroup)?;
    match fs::remove_file(pin) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    link.pin(pin).map(drop).map_err(io::Error::other)
}

/// `Single` is no flag at all, which is what the kernel wants of a link; it allows many all the same.
fn new_link(program: &mut Program, cgroup: &Cgroup) -> io::Result<FdLink> {
    let (mode, refused) = (CgroupAttachMode::Single, |error| match error {
        ProgramError::SyscallError(error) => error.io_error,
        error => io::Error::other(error),
    });
    let link = match program {
        Program::CgroupSockAddr(program) => {
            let id = program.attach(cgroup, mode).map_err(refused)?;
            program.take_link(id).map_err(refused)?.try_into()
        }
        Program::CgroupSock(program) => {
            let id = program.attach(cgroup, mode).map_err(refused)?;
            program.take_link(id).map_err(refused)?.try_into()
        }
        _ => return Err(refused(ProgramError::UnexpectedProgramType)),
    };
    link.map_err(io::Error::other)
}

fn fd(program: &Program) -> Result<BorrowedFd<'_>, ProgramError> {
    Ok(match program {
        Program::CgroupSockAddr(program) => program.fd()?.as_fd(),
        Program::CgroupSock(program) => program.fd()?.as_fd(),
        _ => return Err(ProgramError::UnexpectedProgramType),
    })
}

fn info(program: &Program) -> Result<ProgramInfo, ProgramError> {
    match program {
        Program::CgroupSockAddr(program) => program.info(),
        Program::CgroupSock(program) => program.info(),
        _ => Err(ProgramError::UnexpectedProgramType),
    }
}
