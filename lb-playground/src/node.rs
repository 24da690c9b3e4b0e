//! The node: starts pods, agent and clients, shows what happens until the end, and prints a summary.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;
use lb_testbed::{
    Agent, AgentProcess, AgentStatus, CLUSTER_CIDRS, Family, Pod, RoutedNode, Sandbox,
    SandboxConfig, ask_status,
};
use tokio::signal::unix::{SignalKind, signal};

use crate::Options;
use crate::children::{Client, PodProcess};
use crate::hook_cost::HookCost;
use crate::screen::Screen;
use crate::state::{AgentState, PodState, State};
use crate::supervise::PREFIX;
use crate::view::{ClientView, PlaygroundInfo, View};

/// The Service of examples/web.yaml.
const CLUSTER_IP: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 96, 0, 10)), 80);
const NODE_PORT: u16 = 30_080;
/// Names and numbers of the server pods, as in examples/: 10.244.0.11 and so on.
const SERVERS: [(&str, u8); 3] = [("web-1", 11), ("web-2", 12), ("web-3", 13)];
const SERVER_PORT: u16 = 8080;

const BY_PACKET: &str = "by its first packet";

const REDRAW_EVERY: Duration = Duration::from_millis(250);

pub(crate) fn run(options: &Options, dir: PathBuf) -> Result<ExitCode> {
    let sandbox = Sandbox::enter(&SandboxConfig {
        prefix: PREFIX.to_owned(),
        dir,
    })?;
    println!(
        "node: cgroup {}, with network and mount namespaces of its own",
        sandbox.cgroup().display()
    );
    let cost = HookCost::start();
    let node = RoutedNode::new(&sandbox)?;
    let servers = SERVERS
        .iter()
        .map(|&(name, number)| start_server(&node.pod_numbered(name, number)?))
        .collect::<Result<Vec<_>>>()?;
    println!("servers: {}", SERVERS.map(|(name, _)| name).join(", "));
    // Before the agent, so that it knows their devices when it is ready.
    let outside = node.outside("outside")?;
    outside.route_via_node(["0.0.0.0/0", "::/0"])?;
    let mut asking = vec![
        Asking {
            pod: node.pod("client")?,
            from: "a pod",
            balanced: "at connect()",
            to: CLUSTER_IP,
        },
        Asking {
            pod: node.pod_without_hooks("vm")?,
            from: "a pod without hooks",
            balanced: BY_PACKET,
            to: CLUSTER_IP,
        },
        Asking {
            pod: outside.machine().clone(),
            from: "another machine",
            balanced: BY_PACKET,
            to: (outside.node_address(Family::IPv4), NODE_PORT).into(),
        },
    ];
    let agent = Agent::on_cgroup(&options.agent, &sandbox, &options.examples, node.cgroup())
        .arg("--packet-path=on")
        .arg(format!("--cluster-cidr={}", CLUSTER_CIDRS.join(",")));
    let mut process = agent.start()?;
    println!("agent: ready on {}", options.examples.display());
    let runtime = lb_testbed::runtime()?;
    let mut notes = Vec::new();
    if let Some(why) = runtime
        .block_on(ask_status(agent.socket()))
        .and_then(|status| no_packets(&status))
    {
        asking.truncate(1);
        notes.push(why);
    }
    let clients = asking
        .iter()
        .map(|asking| Client::start(&asking.pod, asking.to))
        .collect::<Result<Vec<_>>>()?;
    println!("clients: {}", names(&asking).join(", "));
    let state = State {
        pid: std::process::id(),
        cgroup: sandbox.cgroup().to_owned(),
        pods: states(&node, &servers, &clients),
        agent: AgentState {
            program: options.agent.clone(),
            socket: agent.socket().to_owned(),
            pin_dir: agent.pin_dir().to_owned(),
        },
    };
    notes.extend(unreachable(state.write()));
    for note in &notes {
        println!("note: {note}");
    }
    let info = PlaygroundInfo {
        pods: SERVERS.map(|(name, _)| name),
        agent: options.agent.clone(),
        examples: options.examples.clone(),
        socket: agent.socket().to_owned(),
        log_file: process.log_file().to_owned(),
        notes,
    };
    let view = View::new(info, asking.iter().map(Asking::view).collect());
    let watched = runtime.block_on(watch(options.seconds, view, &clients, cost, &mut process));
    // The clients first, so that no request fails because a server or the agent stops.
    let stopped = clients
        .into_iter()
        .map(Client::stop)
        .collect::<Result<Vec<_>>>()?;
    let mut view = watched?;
    view.push(stopped);
    finish(options, &view, &mut process)
}

/// A client to start.
struct Asking {
    pod: Pod,
    from: &'static str,
    balanced: &'static str,
    to: SocketAddr,
}

impl Asking {
    fn view(&self) -> ClientView {
        ClientView::new(self.pod.name(), self.from, self.balanced, self.to)
    }
}

fn names(asking: &[Asking]) -> Vec<&str> {
    asking.iter().map(|asking| asking.pod.name()).collect()
}

/// Why packets are not balanced on this kernel, if they are not.
fn no_packets(status: &AgentStatus) -> Option<String> {
    let packets = status.packet_path.as_ref()?;
    packets.devices.is_empty().then(|| {
        format!(
            "only the sockets of pods are balanced here: {}",
            packets.trouble.join("; ")
        )
    })
}

/// Prints the summary and returns the exit code.
fn finish(options: &Options, view: &View, agent: &mut AgentProcess) -> Result<ExitCode> {
    print!("{}", view.summary());
    let alive = agent.ended()?.is_none();
    if alive {
        agent.terminate()?;
    }
    // Users make requests fail on purpose. A run with a time limit is a test.
    let well = alive
        && view.clients.iter().all(|client| {
            let progress = client.window.latest();
            progress.requests > 0 && progress.failures == 0
        });
    if !well && options.seconds.is_some() {
        eprintln!("the agent's log:\n{}", agent.log());
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// Redraws until the time is over or the user wants to end.
async fn watch(
    seconds: Option<u64>,
    mut view: View,
    clients: &[Client],
    mut cost: HookCost,
    agent: &mut AgentProcess,
) -> Result<View> {
    let mut terminated = signal(SignalKind::terminate())?;
    let mut interrupted = signal(SignalKind::interrupt())?;
    let started = Instant::now();
    let deadline = seconds.map(|seconds| started + Duration::from_secs(seconds));
    let mut tick = tokio::time::interval(REDRAW_EVERY);
    let mut screen = Screen::open()?;
    loop {
        tokio::select! {
            _ = terminated.recv() => break,
            _ = interrupted.recv() => break,
            _ = tick.tick() => {}
        }
        if let Some(status) = ask_status(&view.info.socket).await {
            cost.sample(status.hooks);
            view.problems = status.problems;
        }
        view.push(clients.iter().map(Client::progress));
        view.elapsed = started.elapsed();
        view.hook = cost.reading();
        view.agent_ended = agent.ended()?;
        screen.draw(&view)?;
        if screen.is_quit_requested()?
            || deadline.is_some_and(|deadline| Instant::now() >= deadline)
        {
            break;
        }
    }
    Ok(view)
}

fn start_server(pod: &Pod) -> Result<PodProcess> {
    let mut process = PodProcess::start(pod, |command| {
        command.args(["pod", pod.name(), "--port", &SERVER_PORT.to_string()]);
    })?;
    process.wait_for_a_line()?;
    Ok(process)
}

/// Where `exec` can run commands: on the node, and in the pods.
fn states(
    node: &RoutedNode<'_>,
    servers: &[PodProcess],
    clients: &[Client],
) -> BTreeMap<String, PodState> {
    let pods = servers
        .iter()
        .chain(clients.iter().map(Client::process))
        .map(PodProcess::state);
    let on_node = PodState {
        pid: std::process::id(),
        cgroup: node.cgroup().to_owned(),
    };
    pods.chain([("node".to_owned(), on_node)]).collect()
}

/// The note to show if the state could not be written.
fn unreachable(written: Result<()>) -> Option<String> {
    let error = written.err()?;
    Some(format!(
        "`cargo xtask exec` cannot reach this playground: {error:#}"
    ))
}
