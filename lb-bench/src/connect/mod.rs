//! `bench connect`: how long connect() and a short exchange take, by each way to a Service's backends, in turn.
//!
//! One thread plays client and server over a bridge between two pods, so that no other has to wake up. Each way has its
//! share of every round; the rules of kube-proxy are in client pods of their own, where traffic to ClusterIPs starts.

mod race;
mod report;
mod rules;
mod server;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use lb_testbed::{Cgroup, Pod, Sandbox};

use self::race::{Heat, Racer, Work};
use self::report::Row;
use self::server::Server;
use crate::contender::Contender;
use crate::ours::Ours;
use crate::services::Kind;
use crate::verdict::write_json;
use crate::{Common, reference};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// 1 and 10,000 services and fewer rounds, instead of also 1,000
    #[arg(long)]
    quick: bool,
    /// Also write the figures to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

impl Options {
    fn sizes(&self) -> &'static [usize] {
        if self.quick {
            &[1, 10_000]
        } else {
            &[1, 1_000, 10_000]
        }
    }

    fn rounds(&self) -> u64 {
        if self.quick { 30 } else { 100 }
    }
}

/// Operations of each way in a round.
const OPERATIONS: usize = 100;

pub(crate) fn run(options: &Options, common: &Common, sandbox: &Sandbox) -> Result<()> {
    let server = Server::start(sandbox)?;
    let plain = sandbox.pod("plain")?;
    let mut rows = Vec::new();
    println!("{}", report::head());
    for &services in options.sizes() {
        let mut classic = Contender::new(sandbox, "classic")?;
        let _classic = reference::classic(&common.reference, services, &mut classic)?;
        for kind in [Kind::Tcp, Kind::Udp] {
            let nftables = ruled_pod(
                sandbox,
                "nft",
                &["-f", "-"],
                &rules::nftables(kind, services),
            )?;
            let iptables = ruled_pod(
                sandbox,
                "iptables-legacy-restore",
                &[],
                &rules::iptables(kind, services),
            )?;
            let ours = Ours::start(common, sandbox, kind, services)?;
            let racer = |name, cgroup: &Cgroup, pod| Racer {
                name,
                cgroup: cgroup.clone(),
                pod,
                is_direct: name == "direct",
            };
            let node = Cgroup::at(sandbox.cgroup());
            let racers = [
                racer("direct", &node, &plain),
                racer("socklb", ours.contender().cgroup(), &plain),
                racer("classic", classic.cgroup(), &plain),
                racer("nftables", &node, &nftables),
                racer("iptables", &node, &iptables),
            ];
            for work in Work::ALL.into_iter().filter(|work| work.kind() == kind) {
                for spread in [false, true] {
                    let heat = Heat {
                        work,
                        services,
                        spread,
                        operations: OPERATIONS,
                        seed: 0,
                    };
                    let raced = race(heat, options.rounds(), &racers, &server)?;
                    raced
                        .iter()
                        .for_each(|row| println!("{}", report::line(row)));
                    rows.extend(raced);
                }
            }
            ours.end()?;
        }
    }
    println!();
    for verdict in report::verdicts(&rows) {
        println!("{verdict}");
    }
    if let Some(path) = &options.json {
        write_json(path, &rows)?;
    }
    Ok(())
}

/// Rounds in which each has its turn, and another one begins each time.
fn race(heat: Heat, rounds: u64, racers: &[Racer<'_>], server: &Server) -> Result<Vec<Row>> {
    let mut took = vec![Vec::new(); racers.len()];
    for round in 0..rounds {
        let first = usize::try_from(round)? % racers.len();
        for turn in 0..racers.len() {
            let index = (first + turn) % racers.len();
            let heat = Heat {
                seed: round,
                ..heat
            };
            took[index].extend(heat.run(&racers[index], server)?);
        }
    }
    let mut rows: Vec<Row> = racers
        .iter()
        .zip(took)
        .map(|(racer, took)| Row::new(heat.work, heat.services, heat.spread, racer.name, took))
        .collect();
    let direct = rows.first().map_or(1.0, |row| row.p50_us);
    rows.iter_mut().for_each(|row| row.compare(direct));
    Ok(rows)
}

/// A client pod with rules, and a route for ClusterIPs, without which they would not be looked at.
fn ruled_pod(sandbox: &Sandbox, program: &str, words: &[&str], rules: &str) -> Result<Pod> {
    eprintln!("bench: {program} loads {} kB of rules", rules.len() / 1024);
    let pod = sandbox.pod(program)?;
    feed(
        &pod,
        "ip",
        &["-batch", "-"],
        "route add 10.96.0.0/12 dev eth0\n",
        sandbox.dir(),
    )?;
    feed(&pod, program, words, rules, sandbox.dir())?;
    Ok(pod)
}

/// Runs a program inside the pod, with a text as its input.
fn feed(pod: &Pod, program: &str, words: &[&str], input: &str, dir: &Path) -> Result<()> {
    let file = dir.join("input");
    std::fs::write(&file, input).with_context(|| format!("cannot write {}", file.display()))?;
    let mut command: Command = pod.command(program);
    let output = command
        .args(words)
        .env("XTABLES_LOCKFILE", dir.join("xtables.lock"))
        .stdin(std::fs::File::open(&file)?)
        .stdout(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {program}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let start: String = said.chars().take(400).collect();
        bail!("{program} failed: {start}");
    }
    Ok(())
}
