//! Flags of outlier detection.

use clap::Args;

#[derive(Clone, Copy, Debug, Args)]
pub struct OutlierArgs {
    /// With outlier detection: eject a backend after so many connects of this node in a row have failed, each of another socket.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub outlier_failures: u32,
}
