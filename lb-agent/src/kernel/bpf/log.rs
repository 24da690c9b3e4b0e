//! What the programs log, when that is switched on. When it is off, the verifier takes the code out.

use std::fmt;
use std::io;

use aya::Ebpf;
use aya_log::EbpfLogger;
use tokio::io::unix::AsyncFd;

use crate::kernel::node::error::KernelError;

/// From which level on the programs log.
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
    /// As `aya_log_common::Level` numbers them; 0 is none.
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

/// The reader of the programs' log; none when it is off.
pub fn reader(object: &mut Ebpf, level: LogLevel) -> Result<Option<ProgramLog>, KernelError> {
    if level == LogLevel::Off {
        return Ok(None);
    }
    EbpfLogger::init(object)
        .map(|logger| Some(ProgramLog(logger)))
        .map_err(|error| KernelError::map("read", "AYA_LOGS")(io::Error::other(error)))
}

impl ProgramLog {
    /// Hands records on to `log` for as long as it is polled.
    pub async fn forward(self) -> io::Result<()> {
        // SAFETY: the logger's descriptor is its own, and stays open for as long as it lives.
        let mut logger = unsafe { AsyncFd::register(self.0) }?;
        loop {
            let mut ready = logger.readable_mut().await?;
            ready.get_inner_mut().flush();
            ready.clear_ready();
        }
    }
}
