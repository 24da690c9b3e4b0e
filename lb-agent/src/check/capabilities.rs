//! The capabilities of this process.

use std::io;

use rustix::thread::CapabilitySet;

use super::finding::Finding;
use crate::privileges::{OF_TABLES, held, names};

const CHECK: &str = "capabilities";

/// For one thread of the agent; it does without.
const OF_NAMESPACES: CapabilitySet = CapabilitySet::SYS_ADMIN.union(CapabilitySet::SYS_PTRACE);

const REMEDY: &str = "run lb-agent as root, or give its container these capabilities (deploy/kustomize/base/daemonset.yaml)";

/// The names of the capabilities that are missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Lack {
    /// Without which nothing works.
    pub(super) needed: String,
    /// Without which sockets of other network namespaces are left alone.
    pub(super) useful: String,
}

/// None if the kernel does not tell.
pub(super) fn lack() -> Option<Lack> {
    held().ok().map(Lack::of)
}

impl Lack {
    fn of(held: CapabilitySet) -> Self {
        // CAP_SYS_ADMIN stands for two others (`bpf_capable` in linux/capability.h).
        let held = match held.contains(CapabilitySet::SYS_ADMIN) {
            true => held | CapabilitySet::BPF | CapabilitySet::PERFMON,
            false => held,
        };
        Self {
            needed: missing(OF_TABLES - held),
            useful: missing(OF_NAMESPACES - held),
        }
    }
}

/// An empty text for an empty set.
fn missing(capabilities: CapabilitySet) -> String {
    match capabilities.is_empty() {
        true => String::new(),
        false => names(capabilities),
    }
}

pub(super) fn finding(lack: Option<&Lack>) -> Finding {
    let Some(lack) = lack else {
        let error = io::Error::other("cannot read the capabilities of this process");
        return Finding::of_error(CHECK, &error);
    };
    if !lack.needed.is_empty() {
        let detail = format!("missing for programs and tables: {}", lack.needed);
        return Finding::failure(CHECK, detail, REMEDY);
    }
    if !lack.useful.is_empty() {
        let detail = format!(
            "missing for sockets of pods, which then stay connected to removed backends: {}",
            lack.useful
        );
        return Finding::warning(CHECK, detail, REMEDY);
    }
    Finding::ok(CHECK, names(OF_TABLES | OF_NAMESPACES))
}

#[cfg(test)]
mod tests {
    use super::super::finding::Outcome;
    use super::*;

    #[test]
    fn missing_capabilities_are_told_by_their_use() {
        let of = |held| {
            let lack = Lack::of(held);
            (finding(Some(&lack)).outcome, lack.needed, lack.useful)
        };
        assert_eq!(of(CapabilitySet::all()).0, Outcome::Ok);
        let (outcome, needed, useful) = of(OF_TABLES);
        assert_eq!((outcome, &*needed), (Outcome::Warning, ""));
        assert!(useful.contains("CAP_SYS_ADMIN") && useful.contains("CAP_SYS_PTRACE"));
        let (outcome, needed, _) = of(OF_TABLES - CapabilitySet::PERFMON);
        assert_eq!((outcome, &*needed), (Outcome::Failure, "CAP_PERFMON"));
    }

    #[test]
    fn sys_admin_stands_for_bpf_and_perfmon() {
        let held = CapabilitySet::SYS_ADMIN | CapabilitySet::NET_ADMIN | CapabilitySet::SYS_PTRACE;
        assert_eq!(Lack::of(held), Lack::default());
    }
}
