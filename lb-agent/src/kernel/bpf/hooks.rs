//! The hooks: attached through pinned links, and replaced in them without a gap.

use std::fs;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use aya::Ebpf;
use aya::programs::{Program, ProgramError, ProgramInfo};
use aya_obj::generated::{BPF_F_ALLOW_MULTI, bpf_attach_type};

use super::crash_points::end_at;
use super::sys;
use crate::kernel::node::cgroup::Cgroup;
use crate::kernel::node::error::KernelError;

/// The order of attaching: first the hooks that read and remove entries, then those that add them, so that an old
/// program never reads what a new one writes.
const HOOKS: [(&str, bpf_attach_type); 9] = [
    (
        "getpeername4",
        bpf_attach_type::BPF_CGROUP_INET4_GETPEERNAME,
    ),
    (
        "getpeername6",
        bpf_attach_type::BPF_CGROUP_INET6_GETPEERNAME,
    ),
    ("recvmsg4", bpf_attach_type::BPF_CGROUP_UDP4_RECVMSG),
    ("recvmsg6", bpf_attach_type::BPF_CGROUP_UDP6_RECVMSG),
    (
        "sock_release",
        bpf_attach_type::BPF_CGROUP_INET_SOCK_RELEASE,
    ),
    ("connect4", bpf_attach_type::BPF_CGROUP_INET4_CONNECT),
    ("connect6", bpf_attach_type::BPF_CGROUP_INET6_CONNECT),
    ("sendmsg4", bpf_attach_type::BPF_CGROUP_UDP4_SENDMSG),
    ("sendmsg6", bpf_attach_type::BPF_CGROUP_UDP6_SENDMSG),
];

/// The beginning of the names of the links' pins.
pub const LINK: &str = "link_";

/// The path of the pin of a hook's link.
///
/// `links`: the folder of the links.
fn pin_of(links: &Path, hook: &str) -> PathBuf {
    links.join(format!("{LINK}{hook}"))
}

/// An attached program.
#[derive(Debug)]
pub struct HookState {
    pub name: &'static str,
    pub program: u32,
    /// False if the link is an earlier agent's and only the program in it is new.
    pub is_new: bool,
    /// Kept open, since opening the program by its id needs CAP_SYS_ADMIN.
    open: OwnedFd,
    hook: bpf_attach_type,
    /// Kept open, so that the link stays when its pin is removed.
    link: OwnedFd,
}

impl HookState {
    /// How often the program ran, and for how many ns in total. All 0 unless the kernel's statistics are on (`sysctl
    /// kernel.bpf_stats_enabled`).
    #[must_use]
    pub fn run_stats(&self) -> (u64, u64) {
        sys::run_stats(self.open.as_fd()).unwrap_or_default()
    }
}

impl HookState {
    /// Attaches and pins the program again if it is no longer in place. Returns why it was not.
    pub fn repair(&mut self, links: &Path, cgroup: &Cgroup) -> io::Result<Option<&'static str>> {
        let now = sys::link_info(self.link.as_fd())?;
        let pin = pin_of(links, self.name);
        if now.cgroup != cgroup.id {
            self.link = attach(self.open.as_fd(), &pin, cgroup, self.hook)?;
            return Ok(Some(match now.cgroup {
                0 => "detached",
                _ => "attached to another cgroup",
            }));
        }
        let mut what = None;
        if now.program != self.program {
            sys::update_link(self.link.as_fd(), self.open.as_fd())?;
            what = Some("another program in its link");
        }
        if pinned_link(&pin)? != Some(now.id) {
            replace_pin(self.link.as_fd(), &pin)?;
            what = what.or(Some("not pinned"));
        }
        Ok(what)
    }
}

/// Attaches each program, or swaps it into the link that is pinned already.
///
/// `links`: the folder of the links.
pub fn put_into_place(
    object: &mut Ebpf,
    links: &Path,
    cgroup: &Cgroup,
) -> Result<Vec<HookState>, KernelError> {
    HOOKS
        .into_iter()
        .map(|(name, hook)| {
            let program = object
                .program(name)
                .ok_or_else(|| KernelError::Object(format!("program {name} is missing")))?;
            let failed = |error| KernelError::Attach {
                program: name.to_owned(),
                cgroup: cgroup.path.clone(),
                error,
            };
            let other = |error| failed(io::Error::other(error));
            let open = fd(program).map_err(other)?;
            let pin = pin_of(links, name);
            let swapped = swap(open, &pin, cgroup).map_err(failed)?;
            let is_new = swapped.is_none();
            let link = match swapped {
                Some(link) => link,
                None => attach(open, &pin, cgroup, hook).map_err(failed)?,
            };
            end_at(name);
            Ok(HookState {
                name,
                program: info(program).map_err(other)?.id(),
                is_new,
                open: open.try_clone_to_owned().map_err(failed)?,
                hook,
                link,
            })
        })
        .collect()
}

/// Attaches each program by a link that ends with its descriptor, since no file names it.
pub fn attach_for_now(object: &Ebpf, cgroup: &Cgroup) -> Result<Vec<OwnedFd>, KernelError> {
    HOOKS
        .into_iter()
        .map(|(name, hook)| {
            let failed = |error| KernelError::Attach {
                program: name.to_owned(),
                cgroup: cgroup.path.clone(),
                error,
            };
            let program = object
                .program(name)
                .ok_or_else(|| KernelError::Object(format!("program {name} is missing")))?;
            let open = fd(program).map_err(|error| failed(io::Error::other(error)))?;
            sys::create_link(open, cgroup.as_fd(), hook).map_err(failed)
        })
        .collect()
}

/// The programs at one hook of a cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramsAtHook {
    pub hook: &'static str,
    /// Their ids, in the order in which they run.
    pub programs: Vec<u32>,
    /// Another program can be attached beside these.
    pub is_open: bool,
    /// Which of them is ours, by the pinned link.
    pub ours: Option<u32>,
}

/// The programs that are attached to a cgroup itself at our hooks.
///
/// `links`: the folder of the links.
///
/// # Errors
/// EPERM: CAP_NET_ADMIN is missing.
pub fn programs_at(cgroup: &Cgroup, links: &Path) -> io::Result<Vec<ProgramsAtHook>> {
    HOOKS
        .into_iter()
        .map(|(name, hook)| {
            let (programs, flags) = sys::cgroup_programs(cgroup.as_fd(), hook)?;
            // `__cgroup_bpf_attach` in kernel/bpf/cgroup.c: links are attached with this flag.
            let is_open = programs.is_empty() || flags & BPF_F_ALLOW_MULTI != 0;
            let ours = sys::object_at(&pin_of(links, name))
                .and_then(|link| sys::link_info(link.as_fd()))
                .map(|link| link.program);
            Ok(ProgramsAtHook {
                hook: name,
                programs,
                is_open,
                ours: ours.ok(),
            })
        })
        .collect()
}

/// Puts the program into the pinned link, if there is one on this cgroup.
fn swap(program: BorrowedFd<'_>, pin: &Path, cgroup: &Cgroup) -> io::Result<Option<OwnedFd>> {
    let link = match sys::object_at(pin) {
        Ok(link) => link,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let attached_to = sys::link_info(link.as_fd())?.cgroup;
    if attached_to != cgroup.id {
        tracing::warn!(
            event = "hooks.moved",
            path = %pin.display(),
            cgroup_id = attached_to,
            cgroup = %cgroup.path.display(),
            "a hook was attached to another cgroup: attaching it to this one",
        );
        return Ok(None);
    }
    sys::update_link(link.as_fd(), program)?;
    Ok(Some(link))
}

/// Makes a link, and replaces the pin at this path by it.
fn attach(
    program: BorrowedFd<'_>,
    pin: &Path,
    cgroup: &Cgroup,
    hook: bpf_attach_type,
) -> io::Result<OwnedFd> {
    let link = sys::create_link(program, cgroup.as_fd(), hook)?;
    replace_pin(link.as_fd(), pin)?;
    Ok(link)
}

/// The id of the link that is pinned at a path; none if there is no pin.
fn pinned_link(pin: &Path) -> io::Result<Option<u32>> {
    match sys::object_at(pin) {
        Ok(link) => Ok(Some(sys::link_info(link.as_fd())?.id)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Pins a map or a link in place of the one that is pinned at this path.
pub fn replace_pin(object: BorrowedFd<'_>, pin: &Path) -> io::Result<()> {
    match fs::remove_file(pin) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => sys::pin(object, pin),
    }
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
