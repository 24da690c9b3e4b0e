//! What the agent is told by the command line.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::kernel::DataPathSettings;
use crate::policy::Options;
use crate::source::Source;

/// What the agent needs to know.
#[derive(Clone, Debug)]
pub struct AgentSettings {
    pub source: Source,
    pub policy: Options,
    pub kernel: DataPathSettings,
    /// Where NodePorts answer; empty: on the addresses of the node's interfaces.
    pub node_addresses: Vec<IpAddr>,
    /// First and last.
    pub node_port_range: (u16, u16),
    /// How often to look for sockets that ended unseen.
    pub sweep_interval: Duration,
    /// End also TCP connections whose backends have stopped serving.
    pub terminate_tcp: bool,
    /// How often to look whether the tables still say what they should.
    pub check_interval: Duration,
    /// How long after this agent's end the programs fail open; none: never.
    pub fail_open_after: Option<Duration>,
    /// Where the agent answers.
    pub socket: PathBuf,
    /// Where this very process answers probes, if it does.
    pub probe_socket: Option<PathBuf>,
    /// Where it serves metrics and health, if it does.
    pub http: Option<SocketAddr>,
}
