//! Checks that the BPF file system is the host's. Pins in a container's own file system disappear with the container.
//!
//! A process is in a container if its root differs from that of the first process. Then only a BPF file system that is
//! visible to the first process is the host's. `mountinfo` shows both, and reading it needs no capability. In a process
//! namespace of its own a container sees itself as the first process, so the check is impossible: the log contains a
//! warning.

use std::path::Path;

use rustix::fs::{major, minor, stat};

use crate::kernel::node::error::KernelError;
use crate::kernel::node::mountinfo::{self, Mount, mounts};

/// The conventional mount point of the host's BPF file system.
const USUAL: &str = "/sys/fs/bpf";

/// Fails if the BPF file system of `parent` is this container's own.
///
/// `folder`: the pin folder.
pub fn check(folder: &Path, parent: &Path) -> Result<(), KernelError> {
    if std::process::id() == 1 {
        tracing::warn!(
            event = "pins.host_not_visible",
            path = %parent.display(),
            "cannot tell whether the BPF file system is the host's, and one of the container's own would be removed with it: \
             run the container in the host's process namespace (hostPID: true)",
        );
    }
    let device = stat(parent)
        .map_err(KernelError::pin("find the file system of", parent))?
        .st_dev;
    let device = format!("{}:{}", major(device), minor(device));
    let (own, first) = match (mountinfo::read("self"), mountinfo::read("1")) {
        (Ok(own), Ok(first)) => (own, first),
        (Err(error), _) | (_, Err(error)) => {
            tracing::warn!(
                event = "pins.mounts_not_readable",
                path = %parent.display(),
                %error,
                "cannot read mountinfo to tell whether the BPF file system is the host's",
            );
            return Ok(());
        }
    };
    match foreign(&own, &first, &device) {
        None => Ok(()),
        Some(host) => Err(KernelError::PrivateBpffs {
            path: folder.to_owned(),
            remedy: remedy(host),
        }),
    }
}

/// The mount points of the host's BPF file systems if this process is in a container and the device is none of them.
fn foreign<'a>(own: &str, first: &'a str, device: &str) -> Option<Vec<&'a str>> {
    if root(own) == root(first) {
        return None;
    }
    let hosts: Vec<Mount<'_>> = mounts(first).filter(|mount| mount.kind == "bpf").collect();
    if hosts.iter().any(|mount| mount.device == device) {
        return None;
    }
    Some(hosts.into_iter().map(|mount| mount.point).collect())
}

fn remedy(host: Vec<&str>) -> String {
    let mount = |point: &str| {
        format!(
            "mount the host's {point} into the container (a hostPath volume with mountPropagation: HostToContainer)"
        )
    };
    let usual = host.iter().find(|point| **point == USUAL);
    match usual.or_else(|| host.first()) {
        Some(point) => mount(point),
        None => format!(
            "`mount -t bpf bpf {USUAL}` on the host, which has none, then {}",
            mount(USUAL)
        ),
    }
}

/// The file system at `/`: the last one of several mounts.
fn root(mountinfo: &str) -> Option<(&str, &str)> {
    let roots = mounts(mountinfo).filter(|mount| mount.point == "/");
    roots.last().map(|mount| (mount.device, mount.folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "\
        22 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw\n\
        24 22 0:22 / /sys rw shared:2 - sysfs sysfs rw\n\
        30 24 0:28 / /sys/fs/bpf rw shared:9 - bpf bpf rw,mode=700\n";

    /// The mountinfo of a container whose BPF file system has this device.
    fn container(device: &str) -> String {
        format!(
            "500 400 0:70 / / ro - overlay overlay ro\n\
             501 500 0:71 / /sys ro - sysfs sysfs ro\n\
             502 501 {device} / /sys/fs/bpf rw master:9 - bpf bpf rw\n"
        )
    }

    #[test]
    fn a_container_must_use_the_hosts_bpffs() {
        assert_eq!(foreign(&container("0:28"), HOST, "0:28"), None);
        let private = foreign(&container("0:72"), HOST, "0:72");
        assert_eq!(private.as_deref(), Some([USUAL].as_slice()));
    }

    #[test]
    fn on_the_host_any_bpffs_is_accepted() {
        let own = format!("{HOST}60 22 0:90 / /run/tests/bpf rw - bpf socklb rw\n");
        assert_eq!(foreign(&own, HOST, "0:90"), None);
    }

    #[test]
    fn the_remedy_names_what_is_missing() {
        assert!(remedy(vec!["/mnt/bpf", USUAL]).starts_with("mount the host's /sys/fs/bpf into"));
        assert!(remedy(vec!["/mnt/bpf"]).starts_with("mount the host's /mnt/bpf into"));
        assert!(
            remedy(Vec::new()).starts_with("`mount -t bpf bpf /sys/fs/bpf` on the host, which")
        );
    }
}
