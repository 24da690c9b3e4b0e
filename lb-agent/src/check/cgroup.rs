//! The cgroup whose sockets are balanced.

use std::path::Path;

use super::finding::Finding;
use crate::kernel::Cgroup;

const CHECK: &str = "cgroup";

/// The cgroup that an agent would use, if there is one.
///
/// `given`: the value of `--cgroup`.
pub(super) fn find(given: Option<&Path>) -> (Finding, Option<Cgroup>) {
    match Cgroup::open(given) {
        Err(error) => (Finding::of_error(CHECK, &error), None),
        Ok(cgroup) => (of(&cgroup), Some(cgroup)),
    }
}

fn of(cgroup: &Cgroup) -> Finding {
    let path = cgroup.path.display();
    if cgroup.is_root() {
        return Finding::ok(
            CHECK,
            format!("{path}, the root of the hierarchy: all processes"),
        );
    }
    let part = format!("{path}, a part of the hierarchy: the processes in it and below it");
    match cgroup.is_default {
        false => Finding::ok(CHECK, part),
        true => Finding::warning(
            CHECK,
            part,
            "run lb-agent in the host's cgroup namespace, or set --cgroup to the host's cgroup2 folder (in a pod: the volume \
             `cgroup`)",
        ),
    }
}
