//! Reads and writes the files below /proc/sys.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fmt, fs, io};

/// A setting of the kernel (Documentation/networking/{nf_conntrack-sysctl,ip-sysctl}.rst).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sysctl {
    /// The number of entries that conntrack keeps at most; 0: no limit.
    ConntrackMax,
    /// The number of hash buckets for them.
    ConntrackBuckets,
    /// In seconds without a packet.
    TcpTimeoutEstablished,
    /// In seconds.
    TcpTimeoutCloseWait,
    TcpBeLiberal,
    Ipv4Forwarding,
    Ipv6Forwarding,
}

impl Sysctl {
    const ALL: [Self; 7] = [
        Self::ConntrackMax,
        Self::ConntrackBuckets,
        Self::TcpTimeoutEstablished,
        Self::TcpTimeoutCloseWait,
        Self::TcpBeLiberal,
        Self::Ipv4Forwarding,
        Self::Ipv6Forwarding,
    ];

    /// Below /proc/sys.
    const fn path(self) -> &'static str {
        match self {
            Self::ConntrackMax => "net/netfilter/nf_conntrack_max",
            Self::ConntrackBuckets => "net/netfilter/nf_conntrack_buckets",
            Self::TcpTimeoutEstablished => "net/netfilter/nf_conntrack_tcp_timeout_established",
            Self::TcpTimeoutCloseWait => "net/netfilter/nf_conntrack_tcp_timeout_close_wait",
            Self::TcpBeLiberal => "net/netfilter/nf_conntrack_tcp_be_liberal",
            Self::Ipv4Forwarding => "net/ipv4/ip_forward",
            Self::Ipv6Forwarding => "net/ipv6/conf/all/forwarding",
        }
    }
}

impl fmt::Display for Sysctl {
    /// With dots, as for sysctl(8).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path().replace('/', "."))
    }
}

/// The folder of the settings: those of the caller's network namespace.
#[derive(Clone, Debug)]
pub struct SysctlFiles {
    root: PathBuf,
}

impl Default for SysctlFiles {
    fn default() -> Self {
        Self::below(Path::new("/proc/sys"))
    }
}

/// All settings, with the error of each that is unreadable.
pub(super) type Values = BTreeMap<Sysctl, Result<u64, String>>;

impl SysctlFiles {
    #[must_use]
    pub fn below(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    /// # Errors
    /// The file is unreadable, or contains no number.
    pub fn read(&self, sysctl: Sysctl) -> io::Result<u64> {
        let text = fs::read_to_string(self.root.join(sysctl.path()))?;
        text.trim().parse().map_err(io::Error::other)
    }

    /// # Errors
    /// EROFS in a container whose /proc/sys is read-only; EACCES without the privileges; EINVAL for a value out of range.
    pub fn write(&self, sysctl: Sysctl, value: u64) -> io::Result<()> {
        // Not created: a setting that the kernel does not have is an error.
        let file = fs::OpenOptions::new()
            .write(true)
            .truncate(true)
            .open(self.root.join(sysctl.path()))?;
        io::Write::write_all(&mut &file, value.to_string().as_bytes())
    }

    pub(super) fn read_all(&self) -> Values {
        let read = |sysctl| (sysctl, self.read(sysctl).map_err(|error| error.to_string()));
        Sysctl::ALL.into_iter().map(read).collect()
    }
}
