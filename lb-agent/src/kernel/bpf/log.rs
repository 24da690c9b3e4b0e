//! The log of the programs. While it is off, the verifier removes the code.

use std::fmt;
use std::io;

use aya::Ebpf;
use aya_log::EbpfLogger;
use tokio::io::unix::AsyncFd;

use crate::kernel::node::error::KernelError;

/// The least severe level at which the programs log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogLevel {
    #[default]
    Off,
    /// Refused connects.
    Info,
    /// Every translation too.
    Debug,
}

impl LogLevel {
    /// The number of the level in `aya_log_common::Level`; 0 means off.
    pub const fn number(self) -> u8 {
        match self {
            Self::Off => 0,
            Self::Info => 3,
            Self::Debug => 4,
        }
    }
}

/// Reads the programs' log records.
pub struct ProgramLog(EbpfLogger<&'static dyn log::Log>);

impl fmt::Debug for ProgramLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProgramLog")
    }
}

/// The reader of the programs' log; none if the log is off.
pub fn reader(object: &mut Ebpf, level: LogLevel) -> Result<Option<ProgramLog>, KernelError> {
    if level == LogLevel::Off {
        return Ok(None);
    }
    EbpfLogger::init(object)
        .map(|logger| Some(ProgramLog(logger)))
        .map_err(|error| KernelError::map("read", "AYA_LOGS")(io::Error::other(error)))
}

impl ProgramLog {
    /// Passes records on to `log` as long as it is polled.
    pub async fn forward(self) -> io::Result<()> {
        // SAFETY: the logger owns its descriptor, which stays open as long as the logger exists.
        let mut logger = unsafe { AsyncFd::register(self.0) }?;
        loop {
            let mut ready = logger.readable_mut().await?;
            ready.get_inner_mut().flush();
            ready.clear_ready();
        }
    }
}
