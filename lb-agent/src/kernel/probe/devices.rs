//! Other programs at the ingress of the node's devices.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::AsFd as _;
use std::path::Path;

use crate::kernel::bpf::sys;
use crate::kernel::packets::attacher::PIN;
use crate::kernel::packets::devices;
use crate::kernel::pins::folder::LINKS;
use crate::kernel::pins::folders;

/// A device, and the programs of others there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DevicePrograms {
    pub device: String,
    /// Their ids, in the order in which they run.
    pub programs: Vec<u32>,
}

/// The devices that have programs of others by tcx, and the number of all devices. Programs by clsact, which `tc filter show`
/// lists, are not among them.
///
/// # Errors
/// The kernel has no tcx (EINVAL), or CAP_NET_ADMIN is missing.
pub fn programs_on_devices(pin_dir: &Path) -> io::Result<(Vec<DevicePrograms>, usize)> {
    let ours = ours(pin_dir);
    let devices = devices::list(&[])?;
    let number = devices.len();
    let mut found = Vec::new();
    for device in devices {
        let mut programs = match sys::tcx_programs(device.index) {
            // It was removed meanwhile.
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => continue,
            programs => programs?,
        };
        programs.retain(|program| !ours.contains(program));
        if !programs.is_empty() {
            found.push(DevicePrograms {
                device: device.name,
                programs,
            });
        }
    }
    Ok((found, number))
}

/// The ids of our programs, by their pinned links.
fn ours(pin_dir: &Path) -> BTreeSet<u32> {
    let pins = folders::list(&pin_dir.join(LINKS)).unwrap_or_default();
    let of_packets = pins.into_iter().filter(|pin| {
        let name = pin.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(PIN)
    });
    let links = of_packets.filter_map(|pin| {
        let link = sys::object_at(&pin).ok()?;
        sys::link_info(link.as_fd()).ok()
    });
    links.map(|link| link.program).collect()
}
