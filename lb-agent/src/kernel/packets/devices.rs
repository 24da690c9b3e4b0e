//! The network devices of the node, and which of them the packet path uses.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::str::FromStr;
use std::thread::JoinHandle;

use nix::ifaddrs::getifaddrs;
use nix::net::if_::if_nameindex;
use tokio::sync::mpsc::Sender;

use crate::route_changes;

/// The loopback device: the node's own connections are balanced at their sockets.
const LOOPBACK: &str = "lo";

/// A network device in the agent's network namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Device {
    /// The kernel's index of the device; stays when the device is renamed.
    pub index: u32,
    pub name: String,
    /// Its packets have an Ethernet header.
    pub is_ethernet: bool,
}

/// A device's name, or its beginning followed by `*` or `+`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DevicePattern {
    beginning: String,
    is_whole: bool,
}

impl FromStr for DevicePattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (beginning, is_whole) = match text.strip_suffix(['*', '+']) {
            Some(beginning) => (beginning, false),
            None => (text, true),
        };
        // IFNAMSIZ of linux/if.h includes the zero at the end.
        let is_name = !beginning.contains(['/', '*', '+', ' ', ':']) && text.len() < 16;
        if text.is_empty() || !is_name {
            return Err(
                "write a device's name, like eth0, or its beginning, like bond*".to_owned(),
            );
        }
        Ok(Self {
            beginning: beginning.to_owned(),
            is_whole,
        })
    }
}

impl fmt::Display for DevicePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let star = if self.is_whole { "" } else { "*" };
        write!(f, "{}{star}", self.beginning)
    }
}

impl DevicePattern {
    fn matches(&self, name: &str) -> bool {
        match self.is_whole {
            true => *name == *self.beginning,
            false => name.starts_with(&self.beginning),
        }
    }
}

/// The devices that the packet path uses, sorted.
///
/// `patterns`: names of devices; empty: all but the loopback device.
///
/// # Errors
/// The kernel does not list the devices.
pub fn list(patterns: &[DevicePattern]) -> io::Result<Vec<Device>> {
    let is_wanted = |name: &str| match patterns.is_empty() {
        true => name != LOOPBACK,
        false => patterns.iter().any(|pattern| pattern.matches(name)),
    };
    // It has a device's type only beside a link-layer address, which those without a link header do not have.
    let with_address = getifaddrs()?.filter_map(|device| {
        let address = device.address?;
        let link = address.as_link_addr()?;
        let index = u32::try_from(link.ifindex()).ok()?;
        (link.hatype() == libc::ARPHRD_ETHER).then_some(index)
    });
    let ethernet: BTreeSet<u32> = with_address.collect();
    let mut devices: Vec<Device> = if_nameindex()?
        .iter()
        .map(|device| Device {
            index: device.index(),
            name: device.name().to_string_lossy().into_owned(),
            is_ethernet: ethernet.contains(&device.index()),
        })
        .filter(|device| is_wanted(&device.name))
        .collect();
    devices.sort();
    Ok(devices)
}

/// Starts a thread that sends the devices after each change, until the receiver is dropped.
///
/// # Errors
/// The kernel does not report changes, or the thread cannot be started.
pub fn watch(
    patterns: Vec<DevicePattern>,
    changes: Sender<Vec<Device>>,
) -> io::Result<JoinHandle<()>> {
    let list = move || list(&patterns);
    route_changes::watch("devices", route_changes::DEVICES, list, changes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_a_name_or_its_beginning() {
        for (pattern, name, matches) in [
            ("eth0", "eth0", true),
            ("eth0", "eth01", false),
            ("bond*", "bond12", true),
            ("bond+", "bond0.100", true),
            ("bond*", "eth0", false),
            ("*", "eth0", true),
        ] {
            let pattern: DevicePattern = pattern.parse().expect("a pattern");
            assert_eq!(pattern.matches(name), matches, "{pattern} {name}");
        }
        for broken in ["", "a b", "a*b", "/eth", "a-name-of-16-chr"] {
            assert!(broken.parse::<DevicePattern>().is_err(), "{broken}");
        }
    }
}
