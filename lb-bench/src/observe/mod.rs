//! `bench observe`: what it costs a hook that somebody looks: `lb-agent events --follow`, `--latency`, and outlier detection.
//!
//! Four agents in turn do the same batches: one as usual, one with a follower, one with `--latency`, one with `--outlier-detection`. The kernel counts how long
//! the programs run (BPF_ENABLE_STATS); a figure is the median of many rounds.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use aya::sys::{Stats, enable_stats};
use lb_testbed::{Agent, AgentProcess, Manifests, Sandbox, ServiceManifest};
use serde::Serialize;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::Options;
use crate::contender::{Contender, Hook, Runs};
use crate::pod::BenchPod;
use crate::services::{self, PORT, ServiceKind};
use crate::statistics::percentile;
use crate::verdict::verdict;

/// Refused calls in a second.
const RATE: u32 = 10_000;
/// Operations in a batch.
const BATCH: u32 = 2_000;

/// The most ns that a follower may add to the connect hook.
const MOST_FOLLOWED: f64 = 200.0;

/// Outlier detection may take this part of the usual time at most.
const MOST_WATCHED: f64 = 1.02;

/// The Service without a backend.
const EMPTY: usize = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum How {
    Usual,
    Followed,
    Latency,
    Watched,
}

impl How {
    const ALL: [Self; 4] = [Self::Usual, Self::Followed, Self::Latency, Self::Watched];

    const fn name(self) -> &'static str {
        match self {
            Self::Usual => "usual",
            Self::Followed => "followed",
            Self::Latency => "latency",
            Self::Watched => "watched",
        }
    }
}

/// An agent, and who looks at it.
#[derive(Debug)]
struct Observed {
    contender: Contender,
    agent: Agent,
    process: AgentProcess,
    follower: Option<Child>,
}

impl Observed {
    fn start(options: &Options, sandbox: &Sandbox, how: How) -> Result<Self> {
        let mut contender = Contender::new(sandbox, how.name())?;
        let manifests = Manifests::in_folder(sandbox.dir().join(how.name()))?;
        services::write(&manifests, ServiceKind::Tcp, 1)?;
        let empty = ServiceManifest::new("empty")
            .cluster_ip(*services::frontend(EMPTY).ip())
            .port("main", PORT);
        manifests.write("empty.json", [empty.to_json()])?;
        let cgroup = contender.cgroup().path().to_owned();
        let agent = Agent::on_cgroup(&options.agent, sandbox, manifests.folder(), &cgroup);
        let mut agent = agent.beside(how.name());
        match how {
            How::Latency => agent = agent.arg("--latency"),
            How::Watched => agent = agent.arg("--outlier-detection"),
            How::Usual | How::Followed => {}
        }
        let process = agent.start()?;
        contender.set_programs_of(&agent)?;
        let follower = match how {
            How::Followed => {
                let mut command = Command::new(&options.agent);
                command.args(["events", "--follow", "-o", "json", "--socket"]);
                command.arg(agent.socket()).stdout(Stdio::null());
                Some(command.spawn().context("cannot follow the events")?)
            }
            _ => None,
        };
        Ok(Self {
            contender,
            agent,
            process,
            follower,
        })
    }

    fn end(mut self) -> Result<()> {
        if let Some(mut follower) = self.follower.take() {
            follower.kill()?;
            follower.wait()?;
        }
        self.process.terminate()?;
        self.agent.unload()
    }

    /// ns for each run of a hook during `work`, in this agent's cgroup.
    fn measured(
        &self,
        pod: &BenchPod,
        hook: Hook,
        work: impl FnOnce() -> Result<()> + Send,
    ) -> Result<f64> {
        self.contender.cgroup().join()?;
        let before = self.contender.runs()?;
        pod.pod().enter(work)??;
        let after = self.contender.runs()?;
        pod.accept_all()?;
        let earlier = before.get(&hook).copied().unwrap_or_default();
        Runs::nanoseconds_since(after[&hook], earlier).context("the hook did not run")
    }
}

fn connect(to: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    // Closing resets the connection, so that nothing stays in TIME_WAIT.
    socket.set_linger(Some(Duration::ZERO))?;
    socket.connect(&SockAddr::from(to))?;
    Ok(socket)
}

/// Refused calls at the rate.
fn refused() -> Result<()> {
    let began = Instant::now();
    for number in 0..BATCH {
        let due = Duration::from_secs(1) * number / RATE;
        if let Some(early) = due.checked_sub(began.elapsed()) {
            std::thread::sleep(early);
        }
        let error = connect(services::frontend(EMPTY).into()).err();
        let kind = error.map(|error| error.kind());
        ensure!(kind == Some(io::ErrorKind::ConnectionRefused), "{kind:?}");
    }
    Ok(())
}

/// Connections that are opened and closed.
fn closed() -> Result<()> {
    for _ in 0..BATCH {
        connect(services::frontend(0).into())?;
    }
    Ok(())
}

#[derive(Debug, Serialize)]
struct Row {
    case: &'static str,
    how: How,
    /// The median of all rounds.
    ns: f64,
    /// More than the usual agent.
    more_ns: f64,
}

pub(crate) fn run(options: &Options, sandbox: &Sandbox) -> Result<()> {
    let _measuring = enable_stats(Stats::RunTime)
        .context("cannot make the kernel count the runs of BPF programs (BPF_ENABLE_STATS)")?;
    let pod = BenchPod::new(sandbox)?;
    let observed: Result<Vec<(How, Observed)>> = How::ALL
        .into_iter()
        .map(|how| Ok((how, Observed::start(options, sandbox, how)?)))
        .collect();
    let observed = observed?;
    let mut samples: BTreeMap<(&'static str, How), Vec<f64>> = BTreeMap::new();
    let rounds = if options.quick { 10 } else { 40 };
    for _ in 0..rounds {
        for (how, agent) in &observed {
            let refused = agent.measured(&pod, Hook::Connect4, refused)?;
            samples.entry(("refused", *how)).or_default().push(refused);
            let closed = agent.measured(&pod, Hook::SockRelease, closed)?;
            samples.entry(("closed", *how)).or_default().push(closed);
            let connected = agent.measured(&pod, Hook::Connect4, self::closed)?;
            samples
                .entry(("connected", *how))
                .or_default()
                .push(connected);
        }
    }
    for (_, agent) in observed {
        agent.end()?;
    }
    let median = |case, how| {
        let mut sorted = samples.get(&(case, how)).cloned().unwrap_or_default();
        sorted.sort_by(f64::total_cmp);
        percentile(&sorted, 50)
    };
    let mut rows = Vec::new();
    println!("{:10} {:10} {:>8} {:>8}", "case", "agent", "ns", "more");
    for case in ["refused", "connected", "closed"] {
        for how in How::ALL {
            let ns = median(case, how);
            let more_ns = ns - median(case, How::Usual);
            println!("{case:10} {:10} {ns:8.0} {more_ns:+8.0}", how.name());
            rows.push(Row {
                case,
                how,
                ns,
                more_ns,
            });
        }
    }
    let followed = median("refused", How::Followed) - median("refused", How::Usual);
    println!();
    println!(
        "{}",
        verdict(
            &format!("a follower at {RATE} refused calls a second: {followed:+.0} ns"),
            &format!("at most {MOST_FOLLOWED:.0}"),
            followed <= MOST_FOLLOWED
        )
    );
    for case in ["connected", "closed"] {
        let ratio = median(case, How::Watched) / median(case, How::Usual);
        let what = format!("outlier detection, {case}: {ratio:.3} of the usual time");
        println!("{}", verdict(&what, "at most 1.02", ratio <= MOST_WATCHED));
    }
    options.write_json(&rows)
}
