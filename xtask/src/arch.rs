//! The processor architectures that the agent is built for, with the names that others have for them.

use std::env::consts;
use std::fmt;

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use object::elf::{self, Machine};

/// A processor architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Arch {
    #[value(name = "x86_64")]
    X86_64,
    #[value(name = "aarch64")]
    Aarch64,
}

impl Arch {
    pub(crate) const ALL: [Self; 2] = [Self::X86_64, Self::Aarch64];

    /// That of this machine.
    ///
    /// # Errors
    /// If it is none of these.
    pub(crate) fn host() -> Result<Self> {
        let found = Self::ALL
            .into_iter()
            .find(|arch| arch.name() == consts::ARCH);
        found.with_context(|| {
            format!(
                "socklb is built for x86_64 and aarch64; this is {}",
                consts::ARCH
            )
        })
    }

    /// rustc's name, which is also qemu's and the kernel's.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        }
    }

    /// The name of Debian, Go and OCI images.
    pub(crate) fn debian(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::Aarch64 => "arm64",
        }
    }

    /// rustc's target.
    pub(crate) fn triple(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64-unknown-linux-gnu",
            Self::Aarch64 => "aarch64-unknown-linux-gnu",
        }
    }

    /// The name of Debian's folders of libraries, and the prefix of its cross compilers.
    pub(crate) fn multiarch(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64-linux-gnu",
            Self::Aarch64 => "aarch64-linux-gnu",
        }
    }

    /// `e_machine` in the header of an ELF file.
    pub(crate) fn machine(self) -> Machine {
        match self {
            Self::X86_64 => elf::EM_X86_64,
            Self::Aarch64 => elf::EM_AARCH64,
        }
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
