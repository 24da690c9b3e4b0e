//! Checks that the BPF file system is the host's. Pins in a container's own file system disappear with the container.
//!
//! A process is in a container if its root differs from that of the first process. Then only a BPF file system that is
//! visible to the first process is the host's. `mountinfo` shows both, and reading it needs no capability. In a process
//! namespace of its own a container sees itself as the first process, so the check is impossible: the log contains a
//! warning.

use std::ffi::OsStr;
use std::path::Path;

use rustix::fs::{major, minor, stat};

use crate::kernel::node::error::KernelError;
use crate::mountinfo::{self, Mount};

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
    let (own, first) = match (mountinfo::of_process("self"), mountinfo::of_process("1")) {
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
fn foreign<'a>(own: &[Mount], first: &'a [Mount], device: &str) -> Option<Vec<&'a Path>> {
    if root(own) == root(first) {
        return None;
    }
    let hosts: Vec<&Mount> = first.iter().filter(|mount| mount.kind == "bpf").collect();
    if hosts.iter().any(|mount| mount.device == device) {
        return None;
    }
    Some(hosts.into_iter().map(|mount| &*mount.point).collect())
}

fn remedy(host: Vec<&Path>) -> String {
    let mount = |point: &Path| {
        let point = point.display();
        format!(
            "mount the host's {point} into the container (a hostPath volume with mountPropagation: HostToContainer)"
        )
    };
    let usual = host.iter().find(|point| **point == Path::new(USUAL));
    match usual.or_else(|| host.first()) {
        Some(point) => mount(point),
        None => format!(
            "`mount -t bpf bpf {USUAL}` on the host, which has none, then {}",
            mount(Path::new(USUAL))
        ),
    }
}

/// The file system at `/`: the last one of several mounts.
fn root(mounts: &[Mount]) -> Option<(&OsStr, &Path)> {
    let mut roots = mounts.iter().filter(|mount| mount.point == Path::new("/"));
    roots
        .next_back()
        .map(|mount| (&*mount.device, &*mount.folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "\
        22 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw\n\
        24 22 0:22 / /sys rw shared:2 - sysfs sysfs rw\n\
        30 24 0:28 / /sys/fs/bpf rw shared:9 - bpf bpf rw,mode=700\n";

    /// The mountinfo of a container whose BPF file system has this device.
    fn container(device: &str) -> Vec<Mount> {
        let mounts = format!(
            "500 400 0:70 / / ro - overlay overlay ro\n\
             501 500 0:71 / /sys ro - sysfs sysfs ro\n\
             502 501 {device} / /sys/fs/bpf rw master:9 - bpf bpf rw\n"
        );
        mountinfo::parse(mounts.as_bytes())
    }

    fn host() -> Vec<Mount> {
        mountinfo::parse(HOST.as_bytes())
    }

    #[test]
    fn a_container_must_use_the_hosts_bpffs() {
        assert_eq!(foreign(&container("0:28"), &host(), "0:28"), None);
        let host = host();
        let private = foreign(&container("0:72"), &host, "0:72");
        assert_eq!(private, Some(vec![Path::new(USUAL)]));
    }

    #[test]
    fn on_the_host_any_bpffs_is_accepted() {
        let own = format!("{HOST}60 22 0:90 / /run/tests/bpf rw - bpf socklb rw\n");
        let own = mountinfo::parse(own.as_bytes());
        assert_eq!(foreign(&own, &host(), "0:90"), None);
    }

    #[test]
    fn the_remedy_names_what_is_missing() {
        let [usual, other] = [USUAL, "/mnt/bpf"].map(Path::new);
        assert!(remedy(vec![other, usual]).starts_with("mount the host's /sys/fs/bpf into"));
        assert!(remedy(vec![other]).starts_with("mount the host's /mnt/bpf into"));
        assert!(
            remedy(Vec::new()).starts_with("`mount -t bpf bpf /sys/fs/bpf` on the host, which")
        );
    }
}
