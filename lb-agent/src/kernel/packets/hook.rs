//! The devices that the program `packet` is kept at.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Bound::{Excluded, Unbounded};
use std::path::PathBuf;

use super::attacher::{Attacher, Attachment, remove_filter};
use super::devices::{self, Device};
use crate::kernel::bpf::loader::PacketPrograms;
use crate::kernel::node::error::KernelError;

/// How many devices are looked at each second: some have thousands.
const AT_ONCE: usize = 64;

/// The program, and the devices that it is attached to, or should be.
#[derive(Debug)]
pub struct PacketHook {
    attacher: Attacher,
    /// Those that the packet path uses, by index.
    devices: BTreeMap<u32, UsedDevice>,
    /// The names of devices whose filters are to be removed, by index.
    unused: BTreeMap<u32, String>,
    /// Why not all links and filters of unused devices could be removed.
    not_removed: Vec<KernelError>,
    /// [`Self::attach`] was called before.
    is_begun: bool,
    /// The index of the device that [`Self::keep`] looked at last; 0: it begins with the first.
    last_kept: u32,
}

#[derive(Debug)]
struct UsedDevice {
    name: String,
    is_ethernet: bool,
    /// None if the program could not be attached yet.
    attachment: Option<Attachment>,
    /// Why the last attempt to attach or repair it failed.
    error: Option<KernelError>,
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
}

impl PacketHook {
    /// `programs`: loaded. `links`: the folder of the links.
    ///
    /// Errors: a program's id cannot be read.
    pub fn new(programs: PacketPrograms, links: PathBuf) -> io::Result<Self> {
        Ok(Self {
            attacher: Attacher::new(programs, links)?,
            devices: BTreeMap::new(),
            unused: BTreeMap::new(),
            not_removed: Vec::new(),
            is_begun: false,
            last_kept: 0,
        })
    }

    /// Attaches the program to those of the devices that are new. A link or filter that an earlier agent left gets this program
    /// without a gap. What other devices had is removed.
    ///
    /// `devices`: all that the packet path uses.
    pub fn attach(&mut self, devices: &[Device]) -> Changes {
        let wanted: BTreeSet<u32> = devices.iter().map(|device| device.index).collect();
        self.forget_others(&wanted);
        let mut changes = Changes::default();
        for device in devices {
            if let Some(known) = self.devices.get_mut(&device.index) {
                known.name.clone_from(&device.name);
                continue;
            }
            let new = UsedDevice {
                name: device.name.clone(),
                is_ethernet: device.is_ethernet,
                attachment: None,
                error: None,
                earlier: 0,
            };
            self.devices.insert(device.index, new);
            self.visit(device.index, &mut changes);
        }
        // Only now are the links of an earlier agent known to be used.
        self.remove_unused();
        changes
    }

    /// Restores what another program has removed, and tries again what failed, on the next [`AT_ONCE`] devices.
    pub fn keep(&mut self) -> Changes {
        if !self.not_removed.is_empty() {
            self.remove_unused();
        }
        let mut changes = Changes::default();
        for index in self.next_devices() {
            self.visit(index, &mut changes);
        }
        changes
    }

    /// The devices after those of the last call, from the first one again after the last.
    fn next_devices(&mut self) -> Vec<u32> {
        let after = (Excluded(self.last_kept), Unbounded);
        let next = self.devices.range(after).map(|(index, _)| *index);
        let mut next: Vec<u32> = next.take(AT_ONCE).collect();
        if next.is_empty() {
            next = self.devices.keys().take(AT_ONCE).copied().collect();
        }
        self.last_kept = match next.len() {
            AT_ONCE => next.last().copied().unwrap_or_default(),
            _ => 0,
        };
        next
    }

    /// Attaches the program to a device, or repairs it there.
    fn visit(&mut self, index: u32, changes: &mut Changes) {
        let Some(device) = self.devices.get_mut(&index) else {
            return;
        };
        match device.put(&self.attacher, index, changes) {
            Ok(()) => device.error = None,
            // It was removed meanwhile.
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => {
                self.devices.remove(&index);
            }
            Err(error) => {
                device.error = Some(KernelError::Device {
                    device: device.name.clone(),
                    error,
                });
            }
        }
    }

    /// The names of the devices that the program is attached to.
    pub fn devices(&self) -> impl Iterator<Item = &str> {
        let attached = self.devices.values();
        attached
            .filter(|device| device.attachment.is_some())
            .map(|device| &*device.name)
    }

    /// What does not work now.
    pub fn errors(&self) -> impl Iterator<Item = &KernelError> {
        let of_devices = self.devices.values();
        of_devices
            .filter_map(|device| device.error.as_ref())
            .chain(&self.not_removed)
    }

    /// How often the program ran, and for how many ns in total: see [`crate::kernel::HookState::run_stats`].
    #[must_use]
    pub fn run_stats(&self) -> (u64, u64) {
        self.attacher.run_stats()
    }

    /// The id of the program for devices with an Ethernet header.
    #[must_use]
    pub const fn program(&self) -> u32 {
        self.attacher.program()
    }

    /// Forgets the devices that the packet path does not use. No pin names a filter, so the first call notes all other devices of
    /// the node, where an earlier agent may have left one.
    fn forget_others(&mut self, wanted: &BTreeSet<u32>) {
        let others = self
            .devices
            .extract_if(.., |index, _| !wanted.contains(index));
        let mut others: BTreeMap<u32, String> =
            others.map(|(index, device)| (index, device.name)).collect();
        let is_first = !std::mem::replace(&mut self.is_begun, true);
        if self.attacher.has_links() {
            return;
        }
        if is_first {
            // A device that cannot be listed here is not listed for the packet path either.
            let all = devices::list(&[]).unwrap_or_default();
            others.extend(all.into_iter().map(|device| (device.index, device.name)));
        }
        self.unused.extend(others);
        self.unused.retain(|index, _| !wanted.contains(index));
    }

    /// Removes links and filters of devices that the packet path does not use, and pins of devices that are removed.
    fn remove_unused(&mut self) {
        self.not_removed.clear();
        let failed = &mut self.not_removed;
        self.unused
            .retain(|index, name| match remove_filter(*index, name) {
                Ok(_) => false,
                Err(error) => {
                    failed.push(error);
                    true
                }
            });
        let devices = &self.devices;
        failed.extend(
            self.attacher
                .remove_links(|index| !devices.contains_key(&index))
                .err(),
        );
    }
}

impl UsedDevice {
    /// Attaches the program, or repairs it. Errors: ENODEV if the device was removed.
    fn put(&mut self, attacher: &Attacher, index: u32, changes: &mut Changes) -> io::Result<()> {
        let attachment = match &mut self.attachment {
            Some(attachment) => {
                let damage = attacher.repair(attachment)?;
                let restored = damage.map(|damage| (self.name.clone(), damage));
                changes.restored.extend(restored);
                attachment
            }
            none => {
                let attached = attacher.attach(index, self.is_ethernet)?;
                changes.attached.push(self.name.clone());
                none.insert(attached)
            }
        };
        // The list is for the log only.
        let earlier = attacher.earlier(attachment).unwrap_or(self.earlier);
        if earlier > self.earlier {
            changes.behind.push((self.name.clone(), earlier));
        }
        self.earlier = earlier;
        Ok(())
    }
}
