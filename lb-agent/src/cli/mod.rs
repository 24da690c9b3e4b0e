//! The command line: clap types with their help, and which command they call.

mod check;
mod clients;
mod connections;
mod duties;
mod events;
mod explain;
mod listing;
mod outliers;
mod packets;
mod pod;
mod shadow;
mod sizes;
mod source;
mod stopped;
mod top;
mod values;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use ipnet::IpNet;

pub use self::check::{CheckArgs, SelfTestArgs};
pub use self::clients::ClientArgs;
pub use self::connections::ConnectionArgs;
pub use self::duties::DutyArgs;
pub use self::events::EventsArgs;
pub use self::explain::ExplainArgs;
pub use self::listing::{AskArgs, ListArgs, OutputArgs, PinArgs, ScopeArgs, SocketArgs};
pub use self::outliers::OutlierArgs;
pub use self::packets::{PacketArgs, PacketRunArgs};
pub use self::pod::{ProbeArgs, WaitArgs};
pub use self::shadow::{ShadowArgs, ShadowRunArgs};
pub use self::sizes::SizeArgs;
pub use self::source::{AccessArgs, SourceArgs};
pub use self::stopped::StoppedArgs;
pub use self::top::TopArgs;
use self::values::{duration, port_range, service_cidr, step_aside};
use crate::agent;
use crate::commands::{
    self, LogFormat, backends, dump, frontends, plan, probe, run, services, status, unload, wait,
};
use crate::kernel::{self, LogLevel};
use crate::policy;
use crate::serve;

/// Balances connections to Kubernetes Services in connect(2), with BPF programs on cgroup hooks.
#[derive(Debug, Parser)]
#[command(name = "lb-agent", version, propagate_version = true)]
#[command(after_help = "\
Examples:
  lb-agent plan --manifests services/            show what would be balanced; needs no root
  lb-agent run --manifests services/             balance these Services until SIGTERM
  lb-agent run --kubeconfig admin.conf           balance a cluster's Services
  lb-agent unload                                remove everything from the kernel")]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Balance connections on this node until SIGTERM or SIGINT.
    Run(Box<RunArgs>),
    /// Check whether this node is fit to run the agent, and say what to do if not.
    Check(CheckArgs),
    /// Show what would be balanced, without touching the kernel.
    Plan(Box<PlanArgs>),
    /// Show the state of the running agent.
    Status(AskArgs),
    /// Show the Services that the running agent balances, with their connections.
    Services(ListArgs),
    /// Show the running agent's frontends: the addresses that clients connect to.
    Frontends(ListArgs),
    /// Show the running agent's backends, their connections, and their rates as measured for a second.
    Backends(ListArgs),
    /// Show the Services on a screen that refreshes itself, by their new connections per second.
    Top(TopArgs),
    /// Show what the agent has done, and with --follow refused and failed connections.
    Events(EventsArgs),
    /// Show the open sockets that went through Services, with their processes and backends.
    Connections(ConnectionArgs),
    /// Show what a connect to an address or a Service gets, and why.
    Explain(Box<ExplainArgs>),
    /// Show which Services would behave otherwise with this agent than with kube-proxy, as an agent in shadow mode has seen.
    Shadow(ShadowArgs),
    /// Show the tables as the kernel has them, whether an agent runs or not.
    Dump(DumpArgs),
    /// Remove the programs and tables from the kernel.
    Unload(UnloadArgs),
    /// Ask an agent process whether it is alive or ready, for the exec probes of its pod.
    Probe(ProbeArgs),
    /// Wait until a DaemonSet has an available pod on every node, for the chart's uninstall hook.
    WaitForDaemonset(WaitArgs),
    #[command(hide = true)]
    SelfTestInside(SelfTestArgs),
}

#[derive(Clone, Debug, Args)]
#[command(after_help = "\
The data path outlives the agent: after the agent has exited, the kernel keeps balancing until
`lb-agent unload`, and a new agent takes over from there. If another agent is running, the new one
asks it at --socket to hand over; the old one then stands by.

Example:
  lb-agent run --manifests services/ --node-name worker-1")]
pub struct RunArgs {
    #[command(flatten)]
    pub source: SourceArgs,

    #[command(flatten)]
    pub sizes: SizeArgs,

    /// Serve only the processes in this cgroup2 folder and below [default: the root, so all processes].
    #[arg(long, value_name = "PATH")]
    pub cgroup: Option<PathBuf>,

    #[command(flatten)]
    pub pins: PinArgs,

    #[command(flatten)]
    pub socket: SocketArgs,

    /// Answer `lb-agent probe` on this unix socket. Each process needs a path of its own; in a pod, use an emptyDir [default: none].
    #[arg(long, value_name = "PATH")]
    pub probe_socket: Option<PathBuf>,

    /// Serve /metrics, /healthz and /readyz on this address, such as 127.0.0.1:10356 [default: none].
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub http: Option<SocketAddr>,

    /// Metrics for each Service, or for each of their backends too. They name Services: with --http on another than a loopback
    /// address, anybody who reaches it can read them [default: service on a loopback address, else none].
    #[arg(long, value_enum, value_name = "OBJECT")]
    pub metrics_per: Option<agent::MetricsPer>,

    /// Serve some metrics by kube-proxy's names too, such as kubeproxy_sync_proxy_rules_duration_seconds, for dashboards and alerts
    /// that use them.
    #[arg(long)]
    pub kube_proxy_metrics: bool,

    /// Addresses on which NodePorts answer [default: the addresses of the node's interfaces, kept up to date].
    #[arg(long, num_args = 1.., value_name = "ADDRESS")]
    pub node_address: Vec<IpAddr>,

    /// Serve only NodePorts in this range.
    #[arg(long, value_name = "FIRST-LAST", default_value = "1-65535", value_parser = port_range)]
    pub nodeport_range: (u16, u16),

    #[command(flatten)]
    pub clients: ClientArgs,

    #[command(flatten)]
    pub shadow: ShadowRunArgs,

    #[command(flatten)]
    pub packets: PacketRunArgs,

    #[command(flatten)]
    pub duties: DutyArgs,

    /// Refuse connections to addresses in the Service CIDRs that no Service has; otherwise they time out.
    #[arg(long)]
    pub refuse_unknown: bool,

    /// The cluster's Service CIDRs, such as 10.96.0.0/12,fd00:96::/108; at most four [default: from its ServiceCIDR objects].
    #[arg(long, requires = "refuse_unknown", num_args = 1..=4, value_delimiter = ',', value_name = "CIDR", value_parser = service_cidr)]
    pub service_cidr: Vec<IpNet>,

    /// How often to remove the entries of sockets that closed without running a hook (the kernel's own), such as 5m or 90s.
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration)]
    pub sweep_interval: Duration,

    #[command(flatten)]
    pub stopped: StoppedArgs,

    #[command(flatten)]
    pub outliers: OutlierArgs,

    /// How often to read the tables back and repair what another program has changed, such as 1m or 90s.
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = duration)]
    pub check_interval: Duration,

    /// Fail open when no agent has been running for this long, such as 10m: connections then pass unchanged. At least 5s
    /// [default: never].
    #[arg(long, value_name = "DURATION", value_parser = step_aside)]
    pub step_aside_after: Option<Duration>,

    /// Count the round-trip times of TCP connections for each Service, read when a socket is closed.
    #[arg(long)]
    pub latency: bool,

    /// Log level, or a filter such as info,lb_agent::tables=debug.
    #[arg(
        long,
        env = "SOCKLB_LOG",
        hide_env_values = true,
        value_name = "FILTER",
        default_value = "info"
    )]
    pub log: String,

    /// Log format.
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,

    /// Log level of the BPF programs. Anything but `off` slows down every connection.
    #[arg(long, value_enum, value_name = "LEVEL", default_value_t = BpfLog::Off)]
    pub bpf_log: BpfLog,
}

#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Exits with 0 even if objects have problems. These are listed on stderr, or under `problems` in JSON.

Examples:
  lb-agent plan --manifests services/
  lb-agent plan --manifests web.yaml db.yaml -o json
  kubectl get svc,endpointslices -A -o yaml > all.yaml && lb-agent plan --manifests all.yaml")]
pub struct PlanArgs {
    #[command(flatten)]
    pub source: SourceArgs,

    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Shows each service port with its frontends, views, slots and backends, then guards and settings. The
tables contain addresses and ids, but no names of Services. Changes nothing.

Example:
  lb-agent dump --pin-dir /sys/fs/bpf/socklb")]
pub struct DumpArgs {
    #[command(flatten)]
    pub pins: PinArgs,
}

#[derive(Clone, Debug, Args)]
pub struct UnloadArgs {
    #[command(flatten)]
    pub pins: PinArgs,

    /// When done, wait for SIGTERM. For use as a DaemonSet's container.
    #[arg(long)]
    pub then_wait: bool,
}

/// Log level of the BPF programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BpfLog {
    Off,
    /// Refused connects
    Info,
    /// Translated addresses too
    Debug,
}

impl Cli {
    /// Runs the command; an error goes to stderr.
    #[must_use]
    pub fn run(self) -> ExitCode {
        commands::exit_code(match self.command {
            Command::Run(args) => {
                let (log, format) = (args.log.clone(), args.log_format);
                match run::run(&args.settings(), &log, format) {
                    Ok(code) => return code,
                    Err(error) => Err(error),
                }
            }
            Command::Check(args) => return args.run(),
            Command::SelfTestInside(args) => return args.run(),
            Command::Plan(args) => plan::plan(&args.source.settings(), args.output.output),
            Command::Status(args) => status::status(&args.socket.socket, args.output.output),
            Command::Services(args) => services::services(&args.listing()),
            Command::Frontends(args) => frontends::frontends(&args.listing()),
            Command::Backends(args) => backends::backends(&args.listing()),
            Command::Top(args) => args.run(),
            Command::Events(args) => args.run(),
            Command::Connections(args) => args.run(),
            Command::Explain(args) => return args.run(),
            Command::Shadow(args) => return args.run(),
            Command::Dump(args) => dump::dump(&args.pins.pin_dir),
            Command::Unload(args) => unload::unload(&args.pins.pin_dir, args.then_wait),
            Command::Probe(args) => probe::probe(args.what, &args.probe_socket),
            Command::WaitForDaemonset(args) => {
                wait::wait(args.access.settings(), &args.name, args.timeout)
            }
        })
    }
}

impl RunArgs {
    fn settings(self) -> agent::AgentSettings {
        let shadow = self.shadow.tolerance();
        let packets = self.packets.settings(&self.source.packets);
        let (node_port_addresses, has_primary_node_ports) = self.packets.node_port_addresses();
        let mut source = self.source.settings();
        if self.refuse_unknown {
            source.refuse_unknown(self.service_cidr);
        }
        agent::AgentSettings {
            source: source.source,
            policy: policy::Options {
                drain: self.stopped.drain,
                ..source.policy
            },
            kernel: kernel::DataPathSettings {
                cgroup: self.cgroup,
                pin_dir: self.pins.pin_dir,
                sizes: self.sizes.sizes(),
                program_log: match self.bpf_log {
                    BpfLog::Off => LogLevel::Off,
                    BpfLog::Info => LogLevel::Info,
                    BpfLog::Debug => LogLevel::Debug,
                },
                has_latency: self.latency,
                is_shadow: shadow.is_some(),
                syn_timeout: self.outliers.syn_timeout,
                packets: packets.filter(|_| shadow.is_none()),
            },
            shadow,
            clients: self.clients.selection(),
            node_addresses: self.node_address,
            node_port_range: self.nodeport_range,
            node_port_addresses,
            has_primary_node_ports,
            sweep_interval: self.sweep_interval,
            terminate_tcp: self.stopped.terminate_tcp,
            outlier_failures: self.outliers.outlier_failures,
            abort_hanging: self.outliers.abort_hanging,
            check_interval: self.check_interval,
            fail_open_after: self.step_aside_after,
            duties: self.duties.settings(),
            socket: self.socket.socket,
            probe_socket: self.probe_socket,
            events: serve::EventLog::default(),
            metrics_per: self
                .metrics_per
                .unwrap_or_else(|| agent::MetricsPer::by_default(self.http)),
            has_kube_proxy_metrics: self.kube_proxy_metrics,
            http: self.http,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser as _};

    use super::{Cli, Command};

    #[test]
    fn table_sizes_have_bounds() {
        let parse = |flag, number| Cli::try_parse_from(["lb-agent", "run", flag, number]);
        for (flag, least, most) in [
            ("--max-services", "16", "200000"),
            ("--max-endpoints", "16", "4000000"),
        ] {
            assert!(parse(flag, least).is_ok() && parse(flag, most).is_ok());
            for number in ["15", "0", "4000001", "many"] {
                let error = parse(flag, number).expect_err(number).to_string();
                assert!(error.contains(flag), "{error}");
            }
        }
    }

    #[test]
    fn the_node_name_is_lowercased() {
        for (given, expected) in [
            ("Worker-1", "worker-1"),
            (" worker-1\n", "worker-1"),
            ("WORKER-1.Example", "worker-1.example"),
        ] {
            let arguments = ["lb-agent", "plan", "--manifests", "x", "--node-name", given];
            let cli = Cli::try_parse_from(arguments).expect("they are sound");
            let Command::Plan(plan) = cli.command else {
                panic!("it is `plan`");
            };
            assert_eq!(plan.source.settings().policy.node_name, expected);
        }
    }

    #[test]
    fn clap_accepts_the_command_line() {
        Cli::command().debug_assert();
    }
}
