//! The BPF file system, and the tables that are pinned on it.

use std::path::Path;

use super::finding::Finding;
use crate::kernel::probe::{PinnedSet, check_bpffs, pinned_sets};

/// Where programs and tables would be pinned.
pub(super) fn bpffs(pin_dir: &Path) -> Finding {
    const CHECK: &str = "bpf-file-system";
    match check_bpffs(pin_dir) {
        Err(error) => Finding::of_error(CHECK, &error),
        Ok(()) => Finding::ok(CHECK, format!("{} is on one", pin_dir.display())),
    }
}

/// What an earlier agent left.
pub(super) fn tables(pin_dir: &Path) -> Finding {
    const CHECK: &str = "pinned-tables";
    let sets = match pinned_sets(pin_dir) {
        Ok(sets) => sets,
        Err(error) => return Finding::of_error(CHECK, &error),
    };
    if sets.is_empty() {
        return Finding::ok(CHECK, format!("none in {}", pin_dir.display()));
    }
    let mut detail: Vec<String> = sets.iter().map(describe).collect();
    if sets.iter().all(PinnedSet::is_current) {
        detail.push("an agent of this version takes them over as they are".to_owned());
    } else {
        detail.push("the next agent moves the hooks to tables of its own version".to_owned());
    }
    Finding::ok(CHECK, detail.join("; "))
}

fn describe(set: &PinnedSet) -> String {
    let unfinished = if set.is_unfinished {
        ", unfinished"
    } else {
        ""
    };
    format!("layouts of version {}{unfinished}", set.version)
}
