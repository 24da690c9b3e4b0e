//! `bench top`: the CPU time of `lb-agent top`, and that of the agent that answers it, while sockets are connected to random Services.

use std::io::Read as _;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use fastrand::Rng;
use lb_testbed::{Agent, Sandbox};
use pty_process::Size;
use pty_process::blocking::{Command, open};
use serde::Serialize;

use crate::Options;
use crate::services::{self, ServiceKind, frontend};
use crate::usage::{anonymous_memory, cpu_seconds};
use crate::verdict::verdict;

const SERVICES: [usize; 2] = [1_000, 10_000];

/// Of the terminal, in rows and columns: a large one.
const SIZE: (u16, u16) = (50, 200);

/// Between two connects.
const PACE: Duration = Duration::from_millis(1);

/// The most that the agent, and that the command, may need of a CPU, in percent.
const MOST: f64 = 3.0;

/// The figures for one number of Services. Shares are of one CPU, in percent.
#[derive(Debug, Serialize)]
struct TopRow {
    services: usize,
    /// Of the agent while nobody looks.
    agent_alone: f64,
    agent: f64,
    command: f64,
    /// Anonymous memory, in MB, of the agent while nobody looks.
    agent_alone_mb: f64,
    agent_mb: f64,
    command_mb: f64,
}

pub(crate) fn run(options: &Options, sandbox: &Sandbox) -> Result<()> {
    println!(
        "{:>9} {:>14} {:>9} {:>11} {:>15} {:>9} {:>11}",
        "Services",
        "agent alone %",
        "agent %",
        "command %",
        "agent alone MB",
        "agent MB",
        "command MB"
    );
    let mut rows = Vec::new();
    for number in SERVICES {
        let row = measure(number, options, sandbox)?;
        println!(
            "{:>9} {:>14.2} {:>9.2} {:>11.2} {:>15.1} {:>9.1} {:>11.1}",
            row.services,
            row.agent_alone,
            row.agent,
            row.command,
            row.agent_alone_mb,
            row.agent_mb,
            row.command_mb
        );
        rows.push(row);
    }
    println!();
    if let Some(most) = rows.last() {
        let more = most.agent - most.agent_alone;
        let target = format!("below {MOST} % of a CPU");
        for (who, share) in [("the command", most.command), ("answering it", more)] {
            let what = format!("{who} takes {share:.2} % at {} Services", most.services);
            println!("{}", verdict(&what, &target, share < MOST));
        }
    }
    options.write_json(&rows)
}

fn measure(number: usize, options: &Options, sandbox: &Sandbox) -> Result<TopRow> {
    eprintln!("bench: an agent with {number} Services");
    let manifests = sandbox.manifests()?;
    services::write(&manifests, ServiceKind::Udp, number)?;
    let agent = Agent::new(&options.agent, sandbox, manifests.folder());
    let mut running = agent.start()?;
    let pid = running.id();
    let time = Duration::from_secs(if options.quick { 20 } else { 60 });
    let row = while_connecting(number, || {
        let [agent_alone] = shares([pid], time)?;
        let agent_alone_mb = megabytes(pid)?;
        let (mut terminal, pts) = open()?;
        terminal.resize(Size::new(SIZE.0, SIZE.1))?;
        let mut command = Command::new(&options.agent)
            .arg("top")
            .arg("--socket")
            .arg(agent.socket())
            .spawn(pts)
            .context("cannot start `lb-agent top`")?;
        let reader = thread::spawn(move || {
            let mut bytes = [0; 65_536];
            let mut total = 0;
            while let Ok(number @ 1..) = terminal.read(&mut bytes) {
                total += number;
            }
            total
        });
        // The first answers.
        thread::sleep(Duration::from_secs(5));
        let [of_agent, of_command] = shares([pid, command.id()], time)?;
        let row = TopRow {
            services: number,
            agent_alone,
            agent: of_agent,
            command: of_command,
            agent_alone_mb,
            agent_mb: megabytes(pid)?,
            command_mb: megabytes(command.id())?,
        };
        ensure!(command.try_wait()?.is_none(), "`lb-agent top` has ended");
        command.kill()?;
        command.wait()?;
        let written = reader.join().unwrap_or_default();
        ensure!(
            written > usize::from(SIZE.0),
            "`lb-agent top` has drawn nothing"
        );
        Ok(row)
    })?;
    running.terminate()?;
    agent.unload()?;
    Ok(row)
}

/// Connects sockets to random Services until `work` is done.
fn while_connecting<T>(services: usize, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        let connects = scope.spawn(|| -> Result<()> {
            let mut rng = Rng::with_seed(1);
            while !is_done.load(Ordering::Relaxed) {
                let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
                socket.connect(frontend(rng.usize(0..services)))?;
                thread::sleep(PACE);
            }
            Ok(())
        });
        let result = work();
        is_done.store(true, Ordering::Relaxed);
        connects
            .join()
            .map_err(|_| anyhow::anyhow!("the thread that connects has panicked"))??;
        result
    })
}

/// The CPU time of processes during this time, in percent of one CPU.
fn shares<const N: usize>(pids: [u32; N], time: Duration) -> Result<[f64; N]> {
    let began = Instant::now();
    let mut shares = [0.0; N];
    for (share, pid) in shares.iter_mut().zip(pids) {
        *share = -cpu_seconds(pid)?;
    }
    thread::sleep(time);
    for (share, pid) in shares.iter_mut().zip(pids) {
        *share += cpu_seconds(pid)?;
        *share *= 100.0 / began.elapsed().as_secs_f64();
    }
    Ok(shares)
}

fn megabytes(pid: u32) -> Result<f64> {
    Ok(anonymous_memory(pid)? as f64 / 1e6)
}
