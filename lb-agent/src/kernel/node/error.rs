//! What can be wrong with a node, each with what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use super::memory_limit::{self, Limit};

/// Why the data path could not be made ready.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    #[error("this lb-agent was built without its BPF programs: build it with `cargo xtask build`")]
    NoObject,
    #[error(
        "not allowed to load BPF programs ({missing} missing): run lb-agent as root, \
         or give its container these capabilities"
    )]
    NotAllowed { missing: String },
    #[error(
        "no cgroup2 hierarchy is mounted: `mount -t cgroup2 cgroup2 /sys/fs/cgroup` mounts one \
         (socket hooks do not exist on cgroup v1)"
    )]
    NoCgroup2,
    #[error("--cgroup {}: {error}", path.display())]
    Cgroup { path: PathBuf, error: io::Error },
    #[error(
        "--cgroup {}: not a folder of a cgroup2 hierarchy, and none is mounted in a folder of it: name another one \
         (`findmnt -t cgroup2` lists them; for a pod it is the volume `cgroup` that says which folder of the node this is)",
        path.display()
    )]
    NotCgroup2 { path: PathBuf },
    #[error(
        "--pin-dir {}: {} is not a BPF file system: `mount -t bpf bpf /sys/fs/bpf` mounts one (for a \
         container on the host, whose /sys/fs/bpf it then needs as a hostPath volume), \
         or name another folder with --pin-dir",
        path.display(),
        parent.display()
    )]
    NoBpffs { path: PathBuf, parent: PathBuf },
    #[error(
        "--pin-dir {}: that BPF file system is this container's own, and what is pinned there would be \
         gone with it: {remedy}",
        path.display()
    )]
    PrivateBpffs { path: PathBuf, remedy: String },
    #[error("{}: {error}", path.display())]
    Pin { path: PathBuf, error: io::Error },
    #[error(
        "another lb-agent holds {}{}: stop it first, or give this one a --pin-dir and a --cgroup \
         of its own",
        path.display(),
        process(*holder)
    )]
    Locked { path: PathBuf, holder: Option<u32> },
    #[error(
        "{}: has {found}, this lb-agent needs {wanted}: another build made it; \
         `lb-agent unload --pin-dir {}` takes it away (connections that are open stay open)",
        path.display(),
        pin_dir.display()
    )]
    Shape {
        path: PathBuf,
        pin_dir: PathBuf,
        found: String,
        wanted: String,
    },
    #[error(
        "{}: made by a newer lb-agent (version {found} of the layouts, this one knows {known}): run that one again, or \
         `lb-agent unload --pin-dir {}` takes it away (connections that are open stay open)",
        path.display(),
        pin_dir.display()
    )]
    Newer {
        path: PathBuf,
        pin_dir: PathBuf,
        found: u32,
        known: u32,
    },
    #[error(
        "{}: version {found} of the layouts, which this lb-agent cannot read any more: run one in between, or \
         `lb-agent unload --pin-dir {}` takes it away (connections that are open stay open)",
        path.display(),
        pin_dir.display()
    )]
    Older {
        path: PathBuf,
        pin_dir: PathBuf,
        found: u32,
    },
    #[error("the kernel did not take the BPF maps: {0}")]
    Maps(String),
    #[error("no memory for {what}: {}", memory(*tables, limit.as_ref()))]
    Memory {
        what: String,
        /// Bytes that all tables take.
        tables: u64,
        limit: Option<Limit>,
    },
    #[error("the kernel refused program {program}: {reason} (socklb needs Linux 6.1 or later)")]
    Program { program: String, reason: String },
    #[error("{program} could not be attached to {}: {error}{}", cgroup.display(), hint(error, cgroup))]
    Attach {
        program: String,
        cgroup: PathBuf,
        error: io::Error,
    },
    #[error("{what}: {error}")]
    System {
        what: &'static str,
        error: io::Error,
    },
}

/// ` (process 123)`.
fn process(holder: Option<u32>) -> String {
    holder.map_or_else(String::new, |process| format!(" (process {process})"))
}

/// What to do about a lack of memory.
fn memory(tables: u64, limit: Option<&Limit>) -> String {
    let take = format!(
        "the tables take {} MB of kernel memory",
        tables.div_ceil(1_000_000)
    );
    let less = "lower --max-services and --max-endpoints";
    match limit {
        Some(limit) => format!(
            "{take}, and this process may have {limit}: raise that limit to {} MiB or more (in a pod: \
             resources.limits.memory), which is the tables twice, for an upgrade fills new ones beside the old ones, \
             and {} MiB for the agent, or {less}",
            memory_limit::needed(tables).div_ceil(1 << 20),
            memory_limit::AGENT >> 20
        ),
        None => {
            format!("{take}, and no cgroup limits this process: the machine has too little, {less}")
        }
    }
}

/// With the capabilities checked before, this is what EPERM means (`hierarchy_allows_attach` and `__cgroup_bpf_attach` in
/// kernel/bpf/cgroup.c).
fn hint(error: &io::Error, cgroup: &Path) -> String {
    if error.raw_os_error() != Some(libc::EPERM) {
        return String::new();
    }
    format!(
        ": another program's owner has attached one exclusively, to this cgroup or to one above \
         (`bpftool cgroup tree {}` shows them): it has to be attached with BPF_F_ALLOW_MULTI or by a link",
        cgroup.display()
    )
}
