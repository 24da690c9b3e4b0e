//! Raises the limit of open files, which is too low in most shells.

use anyhow::{Context as _, Result};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// More than the sockets that are open at once.
const OPEN_FILES: u64 = 16_384;

pub(crate) fn raise_open_files() -> Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let wanted = OPEN_FILES.min(hard);
    setrlimit(Resource::RLIMIT_NOFILE, wanted, hard).context("cannot raise the limit of open files")
}
