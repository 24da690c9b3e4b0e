//! Keeps the program `packet` at the ingress of the node's devices.
//!
//! Where the kernel has tcx (Linux 6.6), by a pinned link for each device, after the programs that are there. A link ends with
//! its device. On older kernels, by a filter of clsact.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Bound::{Excluded, Unbounded};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use super::clsact;
use super::devices::{self, Device};
use crate::kernel::bpf::hooks::replace_pin;
use crate::kernel::bpf::loader::PacketPrograms;
use crate::kernel::bpf::sys;
use crate::kernel::node::error::KernelError;
use crate::kernel::pins::folders::{list, remove_pin};

/// How many devices are looked at each second: some have thousands.
const AT_ONCE: usize = 64;

/// The beginning of the names of the links' pins.
const PIN: &str = "packet_";

/// The program, and the devices that it is attached to.
#[derive(Debug)]
pub struct PacketHook {
    ethernet: Program,
    others: Program,
    /// The folder of the links.
    links: PathBuf,
    has_tcx: bool,
    attached: BTreeMap<u32, Attached>,
    /// [`Self::attach`] was called before.
    is_begun: bool,
    /// The index of the device that [`Self::keep`] looked at last; 0: it begins with the first.
    last_kept: u32,
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

#[derive(Debug)]
struct Attached {
    name: String,
    is_ethernet: bool,
    /// None for a filter of clsact.
    link: Option<OwnedFd>,
    /// Programs that run before ours.
    earlier: usize,
}

/// What [`PacketHook::attach`] and [`PacketHook::keep`] did.
#[derive(Debug, Default)]
pub struct Changes {
    /// Devices that the program was attached to.
    pub attached: Vec<String>,
    /// Devices on which the program was in place no longer, and is again, with what had happened.
    pub restored: Vec<(String, &'static str)>,
    /// Devices on which other programs run before ours now, and how many.
    pub behind: Vec<(String, usize)>,
    pub errors: Vec<KernelError>,
}

impl PacketHook {
    /// `programs`: loaded. `links`: the folder of the links.
    ///
    /// Errors: a program's id cannot be read.
    pub fn new(programs: PacketPrograms, links: PathBuf) -> io::Result<Self> {
        Ok(Self {
            ethernet: Program::new(programs.ethernet)?,
            others: Program::new(programs.others)?,
            links,
            has_tcx: sys::has_tcx(),
            attached: BTreeMap::new(),
            is_begun: false,
            last_kept: 0,
        })
    }

    /// Attaches the program to those of the devices that it is not attached to. A link or filter that an earlier agent left gets
    /// this program without a gap. What other devices had is removed.
    ///
    /// `devices`: all that the packet path uses.
    pub fn attach(&mut self, devices: &[Device]) -> Changes {
        let mut changes = Changes::default();
        let wanted: BTreeSet<u32> = devices.iter().map(|device| device.index).collect();
        self.forget_others(&wanted, &mut changes);
        if !self.has_tcx && !self.is_begun {
            self.remove_filters_left(&wanted, &mut changes);
        }
        self.is_begun = true;
        for device in devices {
            if let Some(attached) = self.attached.get_mut(&device.index) {
                attached.name.clone_from(&device.name);
                continue;
            }
            match self.attach_to(device.index, device.is_ethernet) {
                Ok(link) => {
                    let attached = Attached {
                        name: device.name.clone(),
                        is_ethernet: device.is_ethernet,
                        link,
                        earlier: 0,
                    };
                    self.attached.insert(device.index, attached);
                    changes.attached.push(device.name.clone());
                }
                // It was removed meanwhile.
                Err(error) if error.raw_os_error() == Some(libc::ENODEV) => {}
                Err(error) => changes.errors.push(KernelError::Device {
                    device: device.name.clone(),
                    error,
                }),
            }
        }
        let indexes: Vec<u32> = self.attached.keys().copied().collect();
        self.find_earlier(&indexes, &mut changes);
        changes
    }

    /// Restores what another program has removed, on the next [`AT_ONCE`] devices.
    pub fn keep(&mut self) -> Changes {
        let mut changes = Changes::default();
        let indexes = self.next_devices();
        for &index in &indexes {
            match self.repair(index) {
                Ok(None) => {}
                Ok(Some(damage)) => {
                    let name = self.attached.get(&index).map(|attached| &attached.name);
                    changes
                        .restored
                        .extend(name.map(|name| (name.clone(), damage)));
                }
                Err(error) if error.raw_os_error() == Some(libc::ENODEV) => {
                    self.attached.remove(&index);
                }
                Err(error) => self.note(index, error, &mut changes),
            }
        }
        self.find_earlier(&indexes, &mut changes);
        changes
    }

    /// The devices after those of the last call, from the first one again after the last.
    fn next_devices(&mut self) -> Vec<u32> {
        let after = (Excluded(self.last_kept), Unbounded);
        let next = self.attached.range(after).map(|(index, _)| *index);
        let mut next: Vec<u32> = next.take(AT_ONCE).collect();
        if next.is_empty() {
            next = self.attached.keys().take(AT_ONCE).copied().collect();
        }
        self.last_kept = match next.len() {
            AT_ONCE => next.last().copied().unwrap_or_default(),
            _ => 0,
        };
        next
    }

    /// The names of the devices that the program is attached to.
    pub fn devices(&self) -> impl Iterator<Item = &str> {
        self.attached.values().map(|attached| &*attached.name)
    }

    /// How often the program ran, and for how many ns in total: see [`crate::kernel::HookState::run_stats`].
    #[must_use]
    pub fn run_stats(&self) -> (u64, u64) {
        let of = |program: &Program| sys::run_stats(program.fd()).unwrap_or_default();
        let (ethernet, others) = (of(&self.ethernet), of(&self.others));
        (ethernet.0 + others.0, ethernet.1 + others.1)
    }

    /// The id of the program for devices with an Ethernet header.
    #[must_use]
    pub const fn program(&self) -> u32 {
        self.ethernet.id
    }

    const fn program_for(&self, is_ethernet: bool) -> &Program {
        match is_ethernet {
            true => &self.ethernet,
            false => &self.others,
        }
    }

    fn note(&self, index: u32, error: io::Error, changes: &mut Changes) {
        let device = self.attached.get(&index);
        let device = device.map_or_else(|| index.to_string(), |device| device.name.clone());
        changes.errors.push(KernelError::Device { device, error });
    }

    fn attach_to(&self, index: u32, is_ethernet: bool) -> io::Result<Option<OwnedFd>> {
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

    /// Repairs what another program has done to a device, and returns what that was; none if nothing.
    fn repair(&mut self, index: u32) -> io::Result<Option<&'static str>> {
        let Some(attached) = self.attached.get(&index) else {
            return Ok(None);
        };
        let program = self.program_for(attached.is_ethernet);
        let Some(link) = &attached.link else {
            // The filter gets the program again, whether it had it or not.
            let was_missing = clsact::attach(index, program.fd())?;
            return Ok(was_missing.then_some("filter removed"));
        };
        let link = link.as_fd();
        if sys::tcx_device(link)? != index {
            let attached_again = self.attach_to(index, attached.is_ethernet)?;
            if let Some(attached) = self.attached.get_mut(&index) {
                attached.link = attached_again;
            }
            return Ok(Some("detached"));
        }
        if sys::link_info(link)?.program != program.id {
            sys::update_link(link, program.fd())?;
            return Ok(Some("another program in its link"));
        }
        let pin = pin_of(&self.links, index);
        if !is_pinned(link, &pin)? {
            replace_pin(link, &pin)?;
            return Ok(Some("not pinned"));
        }
        Ok(None)
    }

    /// Removes links and filters of devices that the packet path does not use, and pins of devices that are removed.
    fn forget_others(&mut self, wanted: &BTreeSet<u32>, changes: &mut Changes) {
        let gone: Vec<u32> = self
            .attached
            .keys()
            .filter(|index| !wanted.contains(index))
            .copied()
            .collect();
        for index in gone {
            let attached = self.attached.remove(&index);
            if attached.is_some_and(|attached| attached.link.is_none())
                && let Err(error) = clsact::detach(index)
                && error.raw_os_error() != Some(libc::ENODEV)
            {
                self.note(index, error, changes);
            }
        }
        if let Err(error) = remove_pins(&self.links, |index| !wanted.contains(&index)) {
            changes.errors.push(error);
        }
    }

    /// Removes the filters that an earlier agent left on devices that the packet path does not use now. No pin names them.
    fn remove_filters_left(&mut self, wanted: &BTreeSet<u32>, changes: &mut Changes) {
        // A device that cannot be listed here is not listed for the packet path either.
        for device in devices::list(&[]).unwrap_or_default() {
            if !wanted.contains(&device.index)
                && let Err(error) = clsact::detach(device.index)
                && error.raw_os_error() != Some(libc::ENODEV)
            {
                changes.errors.push(KernelError::Device {
                    device: device.name,
                    error,
                });
            }
        }
    }

    /// Another program at tcx may end a packet's way before ours sees it.
    fn find_earlier(&mut self, indexes: &[u32], changes: &mut Changes) {
        if !self.has_tcx {
            return;
        }
        for index in indexes {
            let (Some(attached), Ok(programs)) =
                (self.attached.get_mut(index), sys::tcx_programs(*index))
            else {
                continue;
            };
            let ours = match attached.is_ethernet {
                true => self.ethernet.id,
                false => self.others.id,
            };
            let earlier = programs.iter().position(|program| *program == ours);
            let earlier = earlier.unwrap_or_default();
            if earlier > attached.earlier {
                changes.behind.push((attached.name.clone(), earlier));
            }
            attached.earlier = earlier;
        }
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
        let was_there = clsact::detach(device.index).map_err(|error| KernelError::Device {
            device: device.name.clone(),
            error,
        })?;
        detached += usize::from(was_there);
    }
    Ok(detached)
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
