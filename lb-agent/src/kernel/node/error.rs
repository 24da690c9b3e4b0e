//! The errors of a node, each with what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use super::memory_limit::{self, Limit};

/// Why the data path could not be made ready. Each error names the failed action, the reason, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    #[error(
        "cannot load BPF programs: this lb-agent was built without them; build it with `cargo xtask build`"
    )]
    NoObject,
    #[error(
        "cannot load BPF programs: not allowed to ({missing} missing); run lb-agent as root, \
         or give its container these capabilities"
    )]
    NotAllowed { missing: String },
    #[error(
        "cannot find a cgroup: no cgroup2 hierarchy is mounted; `mount -t cgroup2 cgroup2 /sys/fs/cgroup` mounts one \
         (socket hooks do not exist on cgroup v1)"
    )]
    NoCgroup2,
    #[error(
        "cannot open --cgroup {}: {error}; name a folder of a cgroup2 hierarchy (`findmnt -t cgroup2` lists them)",
        path.display()
    )]
    Cgroup { path: PathBuf, error: io::Error },
    #[error(
        "cannot use --cgroup {}: it is not a folder of a cgroup2 hierarchy, and none is mounted in a folder of it; name \
         another one (`findmnt -t cgroup2` lists them; for a pod the volume `cgroup` names the node's folder)",
        path.display()
    )]
    NotCgroup2 { path: PathBuf },
    #[error(
        "cannot use --pin-dir {}: {} is not a BPF file system; `mount -t bpf bpf /sys/fs/bpf` mounts one (for a \
         container on the host, whose /sys/fs/bpf it then needs as a hostPath volume), \
         or name another folder with --pin-dir",
        path.display(),
        parent.display()
    )]
    NoBpffs { path: PathBuf, parent: PathBuf },
    #[error(
        "cannot use --pin-dir {}: that BPF file system is this container's own, and pins in it vanish with the container; \
         {remedy}",
        path.display()
    )]
    PrivateBpffs { path: PathBuf, remedy: String },
    #[error(
        "cannot trust the pin folder: {} belongs to user {owner}, who decides what is in it; remove it, or name another \
         folder with --pin-dir",
        path.display()
    )]
    ForeignOwner { path: PathBuf, owner: u32 },
    #[error(
        "cannot trust the pin folder: others than its owner may write to {}; `chmod go-w` it, or name another folder \
         with --pin-dir",
        path.display()
    )]
    WritableByOthers { path: PathBuf },
    #[error("cannot {action} {}: {error}{}", path.display(), pin_remedy(error))]
    Pin {
        /// A verb and an object, as in `open the pinned map`.
        action: &'static str,
        path: PathBuf,
        error: io::Error,
    },
    #[error(
        "cannot lock the pin folder {}: another lb-agent holds it{}; stop that one first, or give this one a --pin-dir and \
         a --cgroup of its own",
        path.display(),
        process(*holder)
    )]
    Locked { path: PathBuf, holder: Option<u32> },
    #[error(
        "cannot use the pinned map {}: it has {found}, this lb-agent needs {wanted}, so another build made it; {}",
        path.display(),
        unload(pin_dir)
    )]
    Shape {
        path: PathBuf,
        pin_dir: PathBuf,
        found: String,
        wanted: String,
    },
    #[error(
        "cannot use the tables in {}: a newer lb-agent made them (version {found} of the layouts, this one reads {known}); \
         run that one again, or {}",
        path.display(),
        unload(pin_dir)
    )]
    Newer {
        path: PathBuf,
        pin_dir: PathBuf,
        found: u32,
        known: u32,
    },
    #[error(
        "cannot use the tables in {}: this lb-agent no longer reads version {found} of the layouts; run a release in \
         between, or {}",
        path.display(),
        unload(pin_dir)
    )]
    Older {
        path: PathBuf,
        pin_dir: PathBuf,
        found: u32,
    },
    /// The fault is in this binary, not in the kernel.
    #[error(
        "cannot use the BPF object of this lb-agent: {0}; build it again with `cargo xtask build`, or report a bug"
    )]
    Object(String),
    #[error("cannot {action} the BPF map {map}: {error}")]
    Map {
        /// `create`, `map`, `read`.
        action: &'static str,
        map: String,
        error: io::Error,
    },
    #[error(
        "cannot attach the program `packet` to device {device}: {error}; packets that come in there get no Service, the rest \
         works; it is tried again; name other devices with --packet-devices, or start the agent with --packet-path off"
    )]
    Device { device: String, error: io::Error },
    #[error(
        "cannot remove the program `packet` from device {device}: {error}; `tc filter del dev {device} ingress pref 49584` \
         removes it"
    )]
    Filter { device: String, error: io::Error },
    #[error("cannot allocate memory for {what}: {}", memory(*tables, limit.as_ref()))]
    Memory {
        what: String,
        /// Bytes of all tables.
        tables: u64,
        limit: Option<Limit>,
    },
    #[error("cannot load the BPF program {program}: {reason}; socklb needs Linux 6.1 or later")]
    Program { program: String, reason: String },
    #[error("cannot attach {program} to {}: {error}{}", cgroup.display(), attach_remedy(error, cgroup))]
    Attach {
        program: String,
        cgroup: PathBuf,
        error: io::Error,
    },
    #[error("cannot {action}: {error}")]
    System {
        /// A verb and an object, as in `wait for a grace period`.
        action: &'static str,
        error: io::Error,
    },
}

impl KernelError {
    /// For `map_err`: an action on a path of the pin folder failed.
    pub fn pin<E: Into<io::Error>>(action: &'static str, path: &Path) -> impl Fn(E) -> Self {
        move |error| Self::Pin {
            action,
            path: path.to_owned(),
            error: error.into(),
        }
    }

    /// For `map_err`: an action on a map failed.
    pub fn map<E: Into<io::Error>>(action: &'static str, map: &str) -> impl Fn(E) -> Self {
        move |error| Self::Map {
            action,
            map: map.to_owned(),
            error: error.into(),
        }
    }

    /// For `map_err`: a system call about anything else failed.
    pub fn system(action: &'static str) -> impl Fn(io::Error) -> Self {
        move |error| Self::System { action, error }
    }
}

/// What to do when a path of the pin folder is unusable.
fn pin_remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "; run lb-agent as root",
        io::ErrorKind::NotFound => "; another program may have removed it: try again",
        io::ErrorKind::InvalidData => "; another build made it: `lb-agent unload` removes it",
        _ => "",
    }
}

fn unload(pin_dir: &Path) -> String {
    format!(
        "`lb-agent unload --pin-dir {}` removes all tables (open connections of sockets stay open)",
        pin_dir.display()
    )
}

/// ` (process 123)`.
fn process(holder: Option<u32>) -> String {
    holder.map_or_else(String::new, |process| format!(" (process {process})"))
}

/// What to do when memory is short.
fn memory(tables: u64, limit: Option<&Limit>) -> String {
    let take = format!(
        "the tables take {} MB of kernel memory",
        tables.div_ceil(1_000_000)
    );
    let less = "lower --max-services and --max-endpoints";
    match limit {
        Some(limit) => format!(
            "{take}, and this process may have {limit}; raise that limit to {} MiB or more (in a pod: \
             resources.limits.memory), which is the tables twice, for an upgrade fills new ones beside the old ones, \
             and {} MiB for the agent, or {less}",
            memory_limit::needed(tables).div_ceil(1 << 20),
            memory_limit::AGENT >> 20
        ),
        None => {
            format!(
                "{take}, and no cgroup limits this process, so the machine has too little; {less}"
            )
        }
    }
}

/// What to do when a program cannot be attached. After the check of the capabilities this is the meaning of EPERM
/// (`hierarchy_allows_attach` and `__cgroup_bpf_attach` in kernel/bpf/cgroup.c).
fn attach_remedy(error: &io::Error, cgroup: &Path) -> String {
    if error.raw_os_error() != Some(libc::EPERM) {
        return String::new();
    }
    format!(
        "; another program is attached exclusively, to this cgroup or to one above (`bpftool cgroup tree {}` shows them): \
         attach it with BPF_F_ALLOW_MULTI or by a link",
        cgroup.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_about_a_pin_names_the_operation_the_path_and_the_remedy() {
        let path = Path::new("/pins/tables-v1/VIEWS");
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        let error = KernelError::pin("open the pinned map", path)(denied);
        let line = error.to_string();
        assert!(line.starts_with("cannot open the pinned map /pins/tables-v1/VIEWS: "));
        assert!(line.ends_with("run lb-agent as root"));
    }
}
