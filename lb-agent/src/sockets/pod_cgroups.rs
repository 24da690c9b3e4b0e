//! The cgroups of pods, by the names that the kubelet gives them (pkg/kubelet/cm/{pod_container_manager,cgroup_manager}_linux.go), and
//! the processes in them.
//!
//! | driver | folder of a pod | folders of its containers |
//! | --- | --- | --- |
//! | systemd | `kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod0a1b_2c3d.slice` | `cri-containerd-ID.scope`, `crio-ID.scope` |
//! | cgroupfs | `kubepods/burstable/pod0a1b-2c3d` | `ID`, `crio-ID` |
//!
//! Pods of the class Guaranteed have no folder of a class around them, and the kubelet's `--cgroup-root` adds folders and prefixes. So
//! only the last name counts.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// No pod's folder is deeper than this.
const DEEPEST: usize = 12;

/// A UID is at least this long: 32 digits, or 36 characters with its hyphens.
const SHORTEST_UID: usize = 32;

/// The folders of these pods, by UID. Those that are not there are left out.
///
/// # Errors
/// The root cannot be listed.
pub(super) fn folders(
    root: &Path,
    uids: &HashSet<Arc<str>>,
) -> io::Result<HashMap<Arc<str>, PathBuf>> {
    let mut found = HashMap::new();
    let mut queue = VecDeque::from([(root.to_owned(), 0)]);
    let mut is_root = true;
    while let Some((folder, depth)) = queue.pop_front() {
        let children = match children(&folder) {
            // It may have been removed meanwhile.
            Err(_) if !is_root => continue,
            children => children?,
        };
        is_root = false;
        for (name, path) in children {
            match uid(&name) {
                Some(uid) => {
                    if let Some(uid) = uids.get(&*uid) {
                        // The first one is the highest. A user to whom systemd delegates a cgroup may make more, but lower ones.
                        found.entry(Arc::clone(uid)).or_insert(path);
                    }
                }
                None if depth < DEEPEST => queue.push_back((path, depth + 1)),
                None => {}
            }
        }
        if found.len() == uids.len() {
            break;
        }
    }
    Ok(found)
}

/// The UID in the name of a pod's folder; none: it is none.
fn uid(name: &str) -> Option<String> {
    let uid = match name.strip_suffix(".slice") {
        // systemd takes a hyphen for a step in the hierarchy.
        Some(slice) => slice.rsplit_once("-pod")?.1.replace('_', "-"),
        None => name.strip_prefix("pod")?.to_owned(),
    };
    let is_uid =
        uid.len() >= SHORTEST_UID && uid.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
    is_uid.then_some(uid)
}

/// Calls `see` with each process in a folder and below it, and the folder that it is in: the folders of containers before the folders
/// that containers make for themselves. Ends when `see` returns a value.
pub(super) fn find_process<T>(
    folder: &Path,
    see: &mut dyn FnMut(u32, &Path) -> Option<T>,
) -> Option<T> {
    let mut queue = VecDeque::from([folder.to_owned()]);
    while let Some(folder) = queue.pop_front() {
        for process in processes(&folder) {
            if let Some(found) = see(process, &folder) {
                return Some(found);
            }
        }
        let children = children(&folder).unwrap_or_default();
        queue.extend(children.into_iter().map(|(_, path)| path));
    }
    None
}

/// Whether a process is in a folder.
pub(super) fn contains(folder: &Path, process: u32) -> bool {
    processes(folder).contains(&process)
}

/// The processes in a folder, without those below it, and without those that are in no process namespace of the agent's.
fn processes(folder: &Path) -> Vec<u32> {
    let list = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    let ids = list.lines().filter_map(|line| line.parse().ok());
    ids.filter(|id| *id != 0).collect()
}

fn children(folder: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let mut children = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir()
            && let Ok(name) = entry.file_name().into_string()
        {
            children.push((name, entry.path()));
        }
    }
    Ok(children)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "0a1b2c3d-1111-2222-3333-444455556666";

    #[test]
    fn the_uid_is_in_the_names_of_both_drivers() {
        let underscored = UID.replace('-', "_");
        for name in [
            format!("pod{UID}"),
            format!("kubepods-pod{underscored}.slice"),
            format!("kubepods-besteffort-pod{underscored}.slice"),
            format!("kubelet-kubepods-burstable-pod{underscored}.slice"),
        ] {
            assert_eq!(uid(&name).as_deref(), Some(UID), "{name}");
        }
        // A static pod's.
        let hash = "0123456789abcdef0123456789abcdef";
        for name in [format!("pod{hash}"), format!("kubepods-pod{hash}.slice")] {
            assert_eq!(uid(&name).as_deref(), Some(hash), "{name}");
        }
        for name in [
            "kubepods",
            "kubepods.slice",
            "podman",
            "podman.service",
            "kubepods-pod.slice",
            "machine-podman.slice",
        ] {
            assert_eq!(uid(name), None, "{name}");
        }
        assert_eq!(uid(&format!("cri-containerd-{hash}{hash}.scope")), None);
    }

    #[test]
    fn folders_of_all_classes_are_found_and_nothing_below_them_is_searched() {
        let root = tempfile::tempdir().expect("a folder");
        let other = UID.replace('0', "f");
        let folder = |path: String| fs::create_dir_all(root.path().join(path));
        folder(format!("kubepods/burstable/pod{UID}/{UID}")).expect("a folder");
        let slice = format!(
            "kubepods.slice/kubepods-pod{}.slice",
            other.replace('-', "_")
        );
        // A node within a pod has folders of the same form.
        let inner = format!("{slice}/a/kubepods/pod{UID}");
        folder(inner).expect("a folder");
        let of_user = format!("a/b/c/kubepods-pod{}.slice", UID.replace('-', "_"));
        folder(of_user).expect("a folder");
        let uids: HashSet<Arc<str>> = [UID, &other, "another"].map(Arc::from).into();
        let found = folders(root.path(), &uids).expect("it can be listed");
        let wanted = [
            (
                Arc::from(UID),
                root.path().join(format!("kubepods/burstable/pod{UID}")),
            ),
            (Arc::from(&*other), root.path().join(slice)),
        ];
        assert_eq!(found, HashMap::from(wanted));
        assert!(folders(Path::new("/nowhere"), &uids).is_err());
    }
}
