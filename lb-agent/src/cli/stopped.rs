//! Flags about connections whose backend has stopped serving.

use std::time::Duration;

use clap::Args;

use crate::policy::parse_drain;

#[derive(Clone, Copy, Debug, Args)]
pub struct StoppedArgs {
    /// End TCP connections whose backend has stopped serving, not only connected UDP sockets: at once, unless their Service has a
    /// drain time. A terminating backend that still serves keeps its connections.
    #[arg(long)]
    pub terminate_tcp: bool,

    /// Drain time of Services without the annotation socklb.dev/drain, such as 30s or 5m: TCP connections whose backend has stopped
    /// serving are ended within this time, spread over its second half [default: none].
    #[arg(long, value_name = "DURATION", value_parser = parse_drain)]
    pub drain: Option<Duration>,
}
