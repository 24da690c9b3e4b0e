//! How long after an outage of the API server its agents are back: from the moment at which it listens again to a new Service's
//! being in effect, on several nodes.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use lb_testbed::api_server::{ApiServer, Kind, Verb};
use lb_testbed::{Agent, AgentProcess, Node, Sandbox, ServiceManifest};
use serde::Serialize;

use super::shape::Shape;
use super::{PATIENCE, ask};
use crate::Common;
use crate::services::PORT;
use crate::verdict::verdict;

/// The sandbox's own address, which all nodes reach.
const API_SERVER: &str = "10.244.0.1:0";
/// So many nodes, each with an agent.
const NODES: usize = 8;
const SHAPE: Shape = Shape::of(100, 1, 3);
/// Rarely enough not to be what the agents are busy with.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Between outages: each is to be the first one for a while.
const REST: Duration = Duration::from_secs(12);

/// How long the server is away, and how often.
const QUICK: [(u64, usize); 2] = [(1, 3), (8, 1)];
const ALL: [(u64, usize); 4] = [(1, 5), (8, 3), (25, 2), (120, 1)];

/// How all agents did after outages of one length.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Recovery {
    away_s: u64,
    /// Agents, each counted once for each outage.
    agents: usize,
    median_s: f64,
    worst_s: f64,
    /// Lists and watches that the server was asked for by each agent until all were back.
    requests: f64,
}

struct Cluster {
    server: ApiServer,
    /// How many Services it has.
    services: usize,
    members: Vec<Member>,
}

struct Member {
    _node: Node,
    agent: Agent,
    _process: AgentProcess,
}

pub(super) fn measure(is_quick: bool, common: &Common, sandbox: &Sandbox) -> Result<Vec<Recovery>> {
    let outages: &[_] = if is_quick { &QUICK } else { &ALL };
    println!(
        "\n{:>8} {:>8} {:>10} {:>10} {:>16}",
        "away s", "agents", "median s", "worst s", "requests/agent"
    );
    let mut cluster = Cluster::start(common, sandbox)?;
    let mut all = Vec::new();
    for &(away, times) in outages {
        eprintln!("bench: {NODES} agents, their API server away for {away} s, {times} times");
        let mut took = Vec::new();
        let mut requests = 0;
        for _ in 0..times {
            thread::sleep(REST);
            cluster = cluster.live_through(Duration::from_secs(away), &mut took)?;
            requests += cluster.requests();
        }
        took.sort_unstable();
        let at = |index: usize| took.get(index).map_or(0.0, Duration::as_secs_f64);
        let row = Recovery {
            away_s: away,
            agents: took.len(),
            median_s: at(took.len() / 2),
            worst_s: at(took.len().saturating_sub(1)),
            requests: requests as f64 / took.len() as f64,
        };
        println!(
            "{:>8} {:>8} {:>10.2} {:>10.2} {:>16.1}",
            row.away_s, row.agents, row.median_s, row.worst_s, row.requests
        );
        all.push(row);
    }
    Ok(all)
}

/// What is aimed at, and whether it was met.
pub(super) fn verdicts(rows: &[Recovery]) -> Vec<String> {
    rows.iter()
        .map(|row| {
            verdict(
                &format!(
                    "in effect {:.1} s after an outage of {} s, {:.1} s at worst",
                    row.median_s, row.away_s, row.worst_s
                ),
                "at most 3 and 6",
                row.median_s <= 3.0 && row.worst_s <= 6.0,
            )
        })
        .collect()
}

impl Cluster {
    fn start(common: &Common, sandbox: &Sandbox) -> Result<Self> {
        let server = ApiServer::start(API_SERVER)?;
        SHAPE.fill(&server)?;
        let kubeconfig = sandbox.dir().join("kubeconfig-of-nodes");
        server.write_kubeconfig(&kubeconfig)?;
        let members = (0..NODES).map(|number| {
            let node = sandbox.node(&format!("node-{number}"))?;
            let agent = Agent::of_node(&common.agent, sandbox, &kubeconfig, &node)
                .arg("--max-services")
                .arg("512")
                .arg("--max-endpoints")
                .arg("4096");
            Ok(Member {
                _process: agent.start()?,
                _node: node,
                agent,
            })
        });
        let members = members.collect::<Result<_>>()?;
        Ok(Self {
            server,
            services: SHAPE.services,
            members,
        })
    }

    /// The server goes, and comes back with a new Service. Adds how long each agent took to bring that into effect.
    fn live_through(self, away: Duration, took: &mut Vec<Duration>) -> Result<Self> {
        let Self {
            server,
            services,
            members,
        } = self;
        let services = services + 1;
        let address = [10, 97, 0, u8::try_from(services - SHAPE.services)?];
        let new = ServiceManifest::new(&format!("new-{services}"))
            .cluster_ip(address)
            .port("http", PORT);
        let stopped = server.stop();
        thread::sleep(away);
        let server = stopped.start()?;
        let began = Instant::now();
        server.apply(&new.to_json())?;
        let mut waiting: Vec<&Member> = members.iter().collect();
        while !waiting.is_empty() {
            let mut rest = Vec::new();
            for member in waiting {
                if ask(&member.agent)?.services == services {
                    took.push(began.elapsed());
                } else {
                    rest.push(member);
                }
            }
            waiting = rest;
            if began.elapsed() > PATIENCE {
                bail!("{} agents are not back within {PATIENCE:?}", waiting.len());
            }
            thread::sleep(LOOK_EVERY);
        }
        Ok(Self {
            server,
            services,
            members,
        })
    }

    /// How many lists and watches the server was asked for since it came back.
    fn requests(&self) -> u64 {
        let of_kind = |kind| {
            let verbs = [Verb::List, Verb::Watch];
            verbs
                .map(|verb| self.server.requests(kind, verb))
                .iter()
                .sum::<u64>()
        };
        Kind::ALL.into_iter().map(of_kind).sum()
    }
}
