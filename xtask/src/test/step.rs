//! The steps of `cargo xtask test`: their names, and what each one checks.

use clap::ValueEnum;

/// The steps, in the order in which they run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Step {
    /// Formatting
    Fmt,
    /// Licences, duplicates and sources of the crates that socklb is built from
    Deny,
    /// The kernel programs build, and their object is sound
    Bpf,
    /// Lints
    Clippy,
    /// Unit and property tests, and integration tests that need neither root nor BPF
    Unit,
    /// Each fuzz target for a minute
    Fuzz,
    /// Real sockets, programs and maps in namespaces of their own; as root
    Kernel,
    /// The container image's root file system, with the capabilities of the DaemonSet in deploy/; as root
    Image,
    /// The status page in a headless browser; as root
    StatusPage,
    /// The kernel tests on Linux 6.1, in a virtual machine
    Vm,
    /// House rules
    Tidy,
}

impl Step {
    /// As on the command line.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Fmt => "fmt",
            Self::Deny => "deny",
            Self::Bpf => "bpf",
            Self::Clippy => "clippy",
            Self::Unit => "unit",
            Self::Fuzz => "fuzz",
            Self::Kernel => "kernel",
            Self::Image => "image",
            Self::StatusPage => "status-page",
            Self::Vm => "vm",
            Self::Tidy => "tidy",
        }
    }

    pub(super) const fn subject(self) -> &'static str {
        match self {
            Self::Fmt => "formatting",
            Self::Deny => {
                "licences, duplicates and sources of the crates that socklb is built from"
            }
            Self::Bpf => "the kernel programs build, and their object is sound",
            Self::Clippy => "lints",
            Self::Unit => "unit and property tests",
            Self::Fuzz => "each fuzz target for a minute",
            Self::Kernel => "real sockets, programs and maps, as root",
            Self::Image => {
                "the container image, with the capabilities of the DaemonSet in deploy/, as root"
            }
            Self::StatusPage => "the status page in a headless browser, as root",
            Self::Vm => "the kernel tests on the oldest supported kernel, in a virtual machine",
            Self::Tidy => "house rules",
        }
    }

    /// Whether its agent needs the kernel programs.
    pub(super) const fn needs_programs(self) -> bool {
        matches!(
            self,
            Self::Kernel | Self::Image | Self::StatusPage | Self::Vm
        )
    }
}
