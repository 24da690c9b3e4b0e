//! `bench connect`: how long connect() and a short exchange take, with each candidate in turn.
//!
//! One thread is client and server, in two pods on a bridge, so that no other thread has to wake up. Every candidate has a turn
//! in every round. kube-proxy's rules are in client pods of their own, where traffic to ClusterIPs starts.

mod exchange;
mod report;

use std::net::IpAddr;

use anyhow::Result;
use lb_testbed::{Cgroup, Pod, Sandbox};

use self::exchange::{Candidate, Exchange, TimedBatch};
use self::report::ConnectRow;
use crate::agent_contender::AgentContender;
use crate::contender::Contender;
use crate::rules::{Mode, Rules};
use crate::server::Server;
use crate::services::{BACKENDS, ServiceKind};
use crate::{Options, reference};

fn sizes(is_quick: bool) -> &'static [usize] {
    if is_quick {
        &[1, 10_000]
    } else {
        &[1, 1_000, 10_000]
    }
}

fn rounds(is_quick: bool) -> u64 {
    if is_quick { 30 } else { 100 }
}

/// Exchanges of each candidate in a round.
const OPERATIONS: usize = 100;

pub(crate) fn run(options: &Options, sandbox: &Sandbox) -> Result<()> {
    let pod = sandbox.pod("server")?;
    pod.add_addresses(BACKENDS.map(IpAddr::from))?;
    let server = Server::start(pod.namespace())?;
    let plain = sandbox.pod("plain")?;
    let mut rows = Vec::new();
    println!("{}", report::head());
    for &services in sizes(options.quick) {
        let mut classic = Contender::new(sandbox, "classic")?;
        let _classic = reference::classic(&options.reference, services, &mut classic)?;
        for kind in [ServiceKind::Tcp, ServiceKind::Udp] {
            let nftables = ruled_pod(sandbox, Mode::Nftables, kind, services)?;
            let iptables = ruled_pod(sandbox, Mode::Iptables, kind, services)?;
            let ours = AgentContender::start(options, sandbox, kind, services)?;
            let candidate = |name, cgroup: &Cgroup, pod| Candidate {
                name,
                cgroup: cgroup.clone(),
                pod,
                is_direct: name == "direct",
            };
            let node = Cgroup::at(sandbox.cgroup());
            let candidates = [
                candidate("direct", &node, &plain),
                candidate("socklb", ours.contender().cgroup(), &plain),
                candidate("classic", classic.cgroup(), &plain),
                candidate("nftables", &node, &nftables),
                candidate("iptables", &node, &iptables),
            ];
            for exchange in Exchange::ALL
                .into_iter()
                .filter(|exchange| exchange.kind() == kind)
            {
                for spread in [false, true] {
                    let batch = TimedBatch {
                        exchange,
                        services,
                        spread,
                        operations: OPERATIONS,
                        seed: 0,
                    };
                    let compared = compare(batch, rounds(options.quick), &candidates, &server)?;
                    compared
                        .iter()
                        .for_each(|row| println!("{}", report::line(row)));
                    rows.extend(compared);
                }
            }
            ours.end()?;
        }
    }
    println!();
    for verdict in report::verdicts(&rows) {
        println!("{verdict}");
    }
    options.write_json(&rows)
}

/// Each candidate has a turn in every round, and each round starts with another candidate.
fn compare(
    batch: TimedBatch,
    rounds: u64,
    candidates: &[Candidate<'_>],
    server: &Server,
) -> Result<Vec<ConnectRow>> {
    let mut took = vec![Vec::new(); candidates.len()];
    for round in 0..rounds {
        let first = usize::try_from(round)? % candidates.len();
        for turn in 0..candidates.len() {
            let index = (first + turn) % candidates.len();
            let batch = TimedBatch {
                seed: round,
                ..batch
            };
            took[index].extend(batch.run(&candidates[index], server)?);
        }
    }
    let mut rows: Vec<ConnectRow> = candidates
        .iter()
        .zip(took)
        .map(|(candidate, took)| {
            ConnectRow::new(
                batch.exchange,
                batch.services,
                batch.spread,
                candidate.name,
                took,
            )
        })
        .collect();
    let direct = rows.first().map_or(1.0, |row| row.p50_us);
    rows.iter_mut().for_each(|row| row.compare(direct));
    Ok(rows)
}

/// A client pod with rules, and with a route for ClusterIPs: without a route no packet would reach the rules.
fn ruled_pod(sandbox: &Sandbox, mode: Mode, kind: ServiceKind, services: usize) -> Result<Pod> {
    let pod = sandbox.pod(&format!("{mode:?}"))?;
    pod.namespace().ip("route add 10.96.0.0/12 dev eth0\n")?;
    let node = None;
    let rules = Rules {
        kind,
        services,
        node,
    };
    rules.load(mode, pod.namespace(), sandbox.dir())?;
    Ok(pod)
}
