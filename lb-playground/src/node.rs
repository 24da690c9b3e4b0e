//! The node: starts pods, agent and client, shows what happens until the end, and prints a summary.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;
use lb_testbed::{Agent, AgentProcess, Sandbox, SandboxConfig, ask_status};
use tokio::signal::unix::{SignalKind, signal};

use crate::Options;
use crate::children::{Client, PodProcess};
use crate::hook_cost::HookCost;
use crate::screen::Screen;
use crate::state::State;
use crate::supervise::PREFIX;
use crate::view::{PlaygroundInfo, View};

/// The Service of examples/web.yaml.
pub(crate) const FRONTEND: &str = "10.96.0.10:80";
/// Names and numbers of the server pods, as in examples/: 10.244.0.11 and so on.
const SERVERS: [(&str, u8); 3] = [("web-1", 11), ("web-2", 12), ("web-3", 13)];
const SERVER_PORT: u16 = 8080;

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
    let servers = SERVERS
        .iter()
        .map(|&(name, number)| start_server(&sandbox, name, number))
        .collect::<Result<Vec<_>>>()?;
    println!("pods: client, {}", SERVERS.map(|(name, _)| name).join(", "));
    let agent = Agent::new(&options.agent, &sandbox, &options.examples);
    let mut process = agent.start()?;
    println!("agent: ready on {}", options.examples.display());
    let client = Client::start(&sandbox, FRONTEND)?;
    let note = write_state(&sandbox, &servers, &client);
    let info = PlaygroundInfo {
        frontend: FRONTEND.trim_end_matches(":80"),
        pods: SERVERS.map(|(name, _)| name),
        agent: options.agent.clone(),
        examples: options.examples.clone(),
        socket: agent.socket().to_owned(),
        log_file: process.log_file().to_owned(),
        note,
    };
    let runtime = lb_testbed::runtime()?;
    let watched = runtime.block_on(watch(options.seconds, info, &client, cost, &mut process));
    // The client first, so that no request fails because a server or the agent stops.
    let progress = client.stop()?;
    let mut view = watched?;
    view.window.push(progress);
    finish(options, &view, &mut process)
}

/// Prints the summary and returns the exit code.
fn finish(options: &Options, view: &View, agent: &mut AgentProcess) -> Result<ExitCode> {
    print!("{}", view.summary());
    let alive = agent.ended()?.is_none();
    if alive {
        agent.terminate()?;
    }
    let progress = view.window.latest();
    // Users make requests fail on purpose. A run with a time limit is a test.
    let well = alive && progress.requests > 0 && progress.failures == 0;
    if !well && options.seconds.is_some() {
        eprintln!("the agent's log:\n{}", agent.log());
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// Redraws until the time is over or the user wants to end.
async fn watch(
    seconds: Option<u64>,
    info: PlaygroundInfo,
    client: &Client,
    mut cost: HookCost,
    agent: &mut AgentProcess,
) -> Result<View> {
    let mut terminated = signal(SignalKind::terminate())?;
    let mut interrupted = signal(SignalKind::interrupt())?;
    let started = Instant::now();
    let deadline = seconds.map(|seconds| started + Duration::from_secs(seconds));
    let mut tick = tokio::time::interval(REDRAW_EVERY);
    let mut screen = Screen::open()?;
    let mut view = View::new(info);
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
        view.window.push(client.progress());
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

fn start_server(sandbox: &Sandbox, name: &str, number: u8) -> Result<PodProcess> {
    let pod = sandbox.pod_numbered(name, number)?;
    let mut process = PodProcess::start(&pod, sandbox, |command, cgroup| {
        command
            .args(["pod", name, "--port", &SERVER_PORT.to_string()])
            .arg("--cgroup")
            .arg(cgroup);
    })?;
    process.wait_for_a_line()?;
    Ok(process)
}

/// For `exec`. Returns the note to show if that fails.
fn write_state(sandbox: &Sandbox, servers: &[PodProcess], client: &Client) -> Option<String> {
    let pods = servers
        .iter()
        .chain([client.process()])
        .map(PodProcess::state)
        .collect();
    let state = State {
        pid: std::process::id(),
        cgroup: sandbox.cgroup().to_owned(),
        pods,
    };
    state
        .write()
        .err()
        .map(|error| format!("`cargo xtask exec` cannot reach this playground: {error:#}"))
}
