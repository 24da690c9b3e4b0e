//! The settings that the command line gives the agent.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::service_metrics::MetricsPer;
use crate::duties::DutySettings;
use crate::kernel::DataPathSettings;
use crate::policy::{ClientSelection, Options};
use crate::serve::EventLog;
use crate::source::Source;

/// The settings of the agent.
#[derive(Clone, Debug)]
pub struct AgentSettings {
    pub source: Source,
    pub policy: Options,
    pub kernel: DataPathSettings,
    /// Which clients the hooks serve; none: all.
    pub clients: Option<ClientSelection>,
    /// Shadow mode, and how much later endpoints may change on one side than on the other; none: not in shadow mode. As
    /// `kernel.is_shadow`, and then there is no packet path.
    pub shadow: Option<Duration>,
    /// The addresses that answer NodePorts; empty: those of the node's interfaces.
    pub node_addresses: Vec<IpAddr>,
    /// First and last port.
    pub node_port_range: (u16, u16),
    /// The ranges of addresses on which NodePorts are served: see [`crate::policy::NodePorts`].
    pub node_port_addresses: Vec<IpNet>,
    /// NodePorts are served on the Node's primary addresses too.
    pub has_primary_node_ports: bool,
    /// How often to sweep.
    pub sweep_interval: Duration,
    /// End TCP connections too when their backends have stopped serving.
    pub terminate_tcp: bool,
    /// How many connects to a backend in a row must fail until it is ejected.
    pub outlier_failures: u32,
    /// End connects that wait for a backend that has just been ejected.
    pub abort_hanging: bool,
    /// How often to check the contents of the tables.
    pub check_interval: Duration,
    /// How long after this agent's last heartbeat the programs fail open; none: never.
    pub fail_open_after: Option<Duration>,
    pub duties: DutySettings,
    /// The unix socket of the agent.
    pub socket: PathBuf,
    /// The unix socket on which this process itself answers probes, if any.
    pub probe_socket: Option<PathBuf>,
    /// What has happened, for those who ask.
    pub events: EventLog,
    /// The objects that metrics name.
    pub metrics_per: MetricsPer,
    /// Metrics have kube-proxy's names too.
    pub has_kube_proxy_metrics: bool,
    /// The address for metrics and health, if any.
    pub http: Option<SocketAddr>,
}
