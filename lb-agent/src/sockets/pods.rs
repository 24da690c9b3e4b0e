//! Finds the network namespaces of pods.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use super::error::SocketsError;
use super::namespaces::Home;
use super::pod_cgroups;

/// How many processes of a pod to try: those in the host's network, such as conmon's of CRI-O, do not count.
const MOST_TRIES: usize = 64;

/// The pods to find.
#[derive(Clone, Debug)]
pub struct PodSearch {
    /// The folder of cgroup2 below which all pods have theirs.
    pub cgroup: PathBuf,
    /// The UIDs of the pods.
    pub uids: HashSet<Arc<str>>,
    /// Returns the cookie of the calling thread's network namespace (SO_NETNS_COOKIE).
    pub cookie: fn() -> io::Result<u64>,
}

/// The cookies of the pods' network namespaces, by UID. Pods without a process in a namespace other than the host's are left out.
pub(super) fn find_pods(
    home: &Home,
    search: &PodSearch,
) -> Result<HashMap<Arc<str>, u64>, SocketsError> {
    if search.uids.is_empty() {
        return Ok(HashMap::new());
    }
    let host = home.number().map_err(SocketsError::Namespaces)?;
    let folders = pod_cgroups::folders(&search.cgroup, &search.uids);
    let folders = folders.map_err(SocketsError::Cgroups)?;
    let mut found = HashMap::new();
    for (uid, folder) in folders {
        let mut tries = 0;
        let namespace = pod_cgroups::find_process(&folder, &mut |process, folder| {
            tries += 1;
            if tries > MOST_TRIES {
                return None;
            }
            let namespace = File::open(format!("/proc/{process}/ns/net")).ok()?;
            // A process that a runtime starts is in the cgroup before it is in the pod's namespace (`initProcess.start` in runc).
            let is_hosts = namespace.metadata().ok()?.ino() == host;
            // The process may have ended, and another one may have its number.
            (!is_hosts && pod_cgroups::contains(folder, process)).then_some(namespace)
        });
        if let Some(namespace) = namespace {
            match home.ask_in(&namespace, search.cookie)? {
                Ok(cookie) => drop(found.insert(uid, cookie)),
                Err(error) => tracing::debug!(
                    event = "pods.namespace_not_entered",
                    uid = &*uid,
                    %error,
                    "cannot enter the network namespace of a pod",
                ),
            }
        }
    }
    Ok(found)
}
