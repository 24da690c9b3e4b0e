//! Flags of outlier detection.

use std::time::Duration;

use clap::Args;

use super::values::syn_timeout;

#[derive(Clone, Copy, Debug, Args)]
pub struct OutlierArgs {
    /// With outlier detection: eject a backend after so many connects of this node in a row have failed, each of another socket.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub outlier_failures: u32,

    /// Retransmit the first SYN of a connection through a frontend after this time, such as 300ms, instead of the kernel's 1s, so that
    /// a backend that does not answer is noticed sooner. From 50ms to 1s, and more than a round trip takes. Every TCP connect of the
    /// node pays for it: see docs/outlier-detection.md [default: the kernel's].
    #[arg(long, value_name = "DURATION", value_parser = syn_timeout)]
    pub syn_timeout: Option<Duration>,

    /// When a backend is ejected, end the connects that still wait for it: they fail with ECONNABORTED, and clients that try again
    /// get another backend at once. Otherwise they may hang for two minutes.
    #[arg(long)]
    pub abort_hanging: bool,
}
