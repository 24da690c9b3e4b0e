//! Attaches the program `packet` to the ingress of a device, keeps it there, and removes it.
//!
//! Where the kernel has tcx (Linux 6.6), by a pinned link for each device, after the programs that are there. A link ends with
//! its device. On older kernels, by a filter of clsact.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use super::clsact;
use super::devices::Device;
use crate::kernel::bpf::hooks::replace_pin;
use crate::kernel::bpf::loader::PacketPrograms;
use crate::kernel::bpf::sys;
use crate::kernel::node::error::KernelError;
use crate::kernel::pins::folders::{list, remove_pin};

/// The beginning of the names of the links' pins.
pub const PIN: &str = "packet_";

/// The program, for devices with an Ethernet header and for others, and how to attach it.
#[derive(Debug)]
pub struct Attacher {
    ethernet: Program,
    others: Program,
    /// The folder of the links.
    links: PathBuf,
    has_tcx: bool,
}

/// A program and its id.
#[derive(Debug)]
struct Program {
    open: OwnedFd,
    id: u32,
}

impl Program {
    fn new(open: OwnedFd) -> io::Result<Self> {
        let id = sys::program_id(open.as_fd())?;
        Ok(Self { open, id })
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.open.as_fd()
    }
}

/// The program at one device.
#[derive(Debug)]
pub struct Attachment {
    index: u32,
    is_ethernet: bool,
    /// None for a filter of clsact.
    link: Option<OwnedFd>,
}

impl Attacher {
    /// `links`: the folder of the links.
    ///
    /// Errors: a program's id cannot be read.
    pub fn new(programs: PacketPrograms, links: PathBuf) -> io::Result<Self> {
        Ok(Self {
            ethernet: Program::new(programs.ethernet)?,
            others: Program::new(programs.others)?,
            links,
            has_tcx: sys::has_tcx(),
        })
    }

    /// A link or filter that an earlier agent left gets this program without a gap.
    pub fn attach(&self, index: u32, is_ethernet: bool) -> io::Result<Attachment> {
        Ok(Attachment {
            index,
            is_ethernet,
            link: self.link(index, is_ethernet)?,
        })
    }

    /// Repairs what another program has done to a device, and returns what that was; none if nothing.
    pub fn repair(&self, attachment: &mut Attachment) -> io::Result<Option<&'static str>> {
        let Attachment {
            index,
            is_ethernet,
            link,
        } = attachment;
        let program = self.program_for(*is_ethernet);
        let Some(open) = link else {
            // The filter gets the program again, whether it had it or not.
            let was_missing = clsact::attach(*index, program.fd())?;
            return Ok(was_missing.then_some("filter removed"));
        };
        let open = open.as_fd();
        if sys::tcx_device(open)? != *index {
            *link = self.link(*index, *is_ethernet)?;
            return Ok(Some("detached"));
        }
        if sys::link_info(open)?.program != program.id {
            sys::update_link(open, program.fd())?;
            return Ok(Some("another program in its link"));
        }
        let pin = pin_of(&self.links, *index);
        if !is_pinned(open, &pin)? {
            replace_pin(open, &pin)?;
            return Ok(Some("not pinned"));
        }
        Ok(None)
    }

    /// The number of programs at tcx that run before ours: each may end a packet's way.
    pub fn earlier(&self, attachment: &Attachment) -> io::Result<usize> {
        if !self.has_tcx {
            return Ok(0);
        }
        let ours = self.program_for(attachment.is_ethernet).id;
        let programs = sys::tcx_programs(attachment.index)?;
        let earlier = programs.iter().position(|program| *program == ours);
        Ok(earlier.unwrap_or_default())
    }

    /// Whether pinned links attach the program, not filters.
    pub const fn has_links(&self) -> bool {
        self.has_tcx
    }

    /// Removes the links of those devices for which `goes` returns true.
    pub fn remove_links(&self, goes: impl Fn(u32) -> bool) -> Result<(), KernelError> {
        remove_pins(&self.links, goes).map(drop)
    }

    /// How often the program ran, and for how many ns in total: see [`crate::kernel::HookState::run_stats`].
    pub fn run_stats(&self) -> (u64, u64) {
        let of = |program: &Program| sys::run_stats(program.fd()).unwrap_or_default();
        let (ethernet, others) = (of(&self.ethernet), of(&self.others));
        (ethernet.0 + others.0, ethernet.1 + others.1)
    }

    /// The id of the program for devices with an Ethernet header.
    pub const fn program(&self) -> u32 {
        self.ethernet.id
    }

    const fn program_for(&self, is_ethernet: bool) -> &Program {
        match is_ethernet {
            true => &self.ethernet,
            false => &self.others,
        }
    }

    /// A new or earlier link; none for a filter of clsact.
    fn link(&self, index: u32, is_ethernet: bool) -> io::Result<Option<OwnedFd>> {
        let program = self.program_for(is_ethernet).fd();
        if !self.has_tcx {
            return clsact::attach(index, program).map(|_| None);
        }
        let pin = pin_of(&self.links, index);
        if let Some(link) = swap(program, &pin, index)? {
            return Ok(Some(link));
        }
        let link = sys::create_tcx_link(program, index)?;
        replace_pin(link.as_fd(), &pin)?;
        Ok(Some(link))
    }
}

/// Puts the program into the pinned link, if there is one on this device.
fn swap(program: BorrowedFd<'_>, pin: &Path, index: u32) -> io::Result<Option<OwnedFd>> {
    let link = match sys::object_at(pin) {
        Ok(link) => link,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if sys::tcx_device(link.as_fd())? != index {
        return Ok(None);
    }
    sys::update_link(link.as_fd(), program)?;
    Ok(Some(link))
}

/// Removes the program from all devices.
///
/// `links`: the folder of the links. Returns on how many devices it was.
pub fn detach_all(links: &Path, devices: &[Device]) -> Result<usize, KernelError> {
    if sys::has_tcx() {
        return remove_pins(links, |_| true);
    }
    let mut detached = 0;
    for device in devices {
        detached += usize::from(remove_filter(device.index, &device.name)?);
    }
    Ok(detached)
}

/// Removes the program's filter from a device. Returns whether there was one.
pub fn remove_filter(index: u32, name: &str) -> Result<bool, KernelError> {
    match clsact::detach(index) {
        // The device was removed.
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(false),
        result => result.map_err(|error| KernelError::Filter {
            device: name.to_owned(),
            error,
        }),
    }
}

/// Detaches and removes the pinned links of those devices for which `goes` returns true. Returns how many there were.
fn remove_pins(links: &Path, goes: impl Fn(u32) -> bool) -> Result<usize, KernelError> {
    let mut removed = 0;
    if !links.exists() {
        return Ok(removed);
    }
    for pin in list(links)? {
        let name = pin.file_name().unwrap_or_default().to_string_lossy();
        let index = name.strip_prefix(PIN).map(str::parse::<u32>);
        if index.is_some_and(|index| index.map_or(true, &goes)) {
            // The link of a removed device cannot be detached any more.
            let _ = sys::object_at(&pin).and_then(|link| sys::detach_link(link.as_fd()));
            remove_pin(&pin)?;
            removed += 1;
        }
    }
    Ok(removed)
}

fn is_pinned(link: BorrowedFd<'_>, pin: &Path) -> io::Result<bool> {
    match sys::object_at(pin) {
        Ok(pinned) => Ok(sys::link_info(pinned.as_fd())?.id == sys::link_info(link)?.id),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn pin_of(links: &Path, index: u32) -> PathBuf {
    links.join(format!("{PIN}{index}"))
}
