//! Recovery after an outage of the API server, on several nodes: the time from the moment at which the server listens again
//! until a new Service is in effect.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use lb_testbed::api_server::{ApiServer, Kind, Verb};
use lb_testbed::{Agent, AgentProcess, Node, Sandbox, ServiceManifest};
use serde::Serialize;

use super::PATIENCE;
use super::shape::ClusterShape;
use crate::Options;
use crate::services::PORT;
use crate::status::ask;
use crate::verdict::verdict;

/// The sandbox's own address, which all nodes reach.
const API_SERVER: &str = "10.244.0.1:0";
/// Nodes, each with an agent.
const NODES: usize = 8;
const SHAPE: ClusterShape = ClusterShape::of(100, 1, 3);
/// Not so often that the agents are busy answering.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Pause between outages, so that no outage affects the backoff of the next one.
const REST: Duration = Duration::from_secs(12);

/// Lengths of the outages in seconds, and how many of each.
const QUICK: [(u64, usize); 2] = [(1, 3), (8, 1)];
const ALL: [(u64, usize); 4] = [(1, 5), (8, 3), (25, 2), (120, 1)];

/// Recovery of all agents after outages of one length.
#[derive(Clone, Debug, Serialize)]
pub(super) struct RecoveryRow {
    away_s: u64,
    /// Agents, each counted once for each outage.
    agents: usize,
    median_s: f64,
    worst_s: f64,
    /// List and watch requests of each agent until all agents had recovered.
    requests: f64,
}

struct Cluster {
    server: ApiServer,
    /// How many Services it has.
    services: usize,
    members: Vec<NodeAgent>,
}

struct NodeAgent {
    _node: Node,
    agent: Agent,
    _process: AgentProcess,
}

pub(super) fn measure(options: &Options, sandbox: &Sandbox) -> Result<Vec<RecoveryRow>> {
    let outages: &[_] = if options.quick { &QUICK } else { &ALL };
    println!(
        "\n{:>8} {:>8} {:>10} {:>10} {:>16}",
        "away s", "agents", "median s", "worst s", "requests/agent"
    );
    let mut cluster = Cluster::start(options, sandbox)?;
    let mut all = Vec::new();
    for &(away, times) in outages {
        eprintln!("bench: {NODES} agents, {times} outages of {away} s of the API server");
        let mut took = Vec::new();
        let mut requests = 0;
        for _ in 0..times {
            thread::sleep(REST);
            cluster = cluster.survive_outage(Duration::from_secs(away), &mut took)?;
            requests += cluster.requests();
        }
        took.sort_unstable();
        let at = |index: usize| took.get(index).map_or(0.0, Duration::as_secs_f64);
        let row = RecoveryRow {
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

/// The targets, and whether they were met.
pub(super) fn verdicts(rows: &[RecoveryRow]) -> Vec<String> {
    rows.iter()
        .map(|row| {
            verdict(
                &format!(
                    "in effect {:.1} s after an outage of {} s, at worst {:.1} s",
                    row.median_s, row.away_s, row.worst_s
                ),
                "at most 3 and 6",
                row.median_s <= 3.0 && row.worst_s <= 6.0,
            )
        })
        .collect()
}

impl Cluster {
    fn start(options: &Options, sandbox: &Sandbox) -> Result<Self> {
        let server = ApiServer::start(API_SERVER)?;
        SHAPE.fill(&server)?;
        let kubeconfig = sandbox.dir().join("kubeconfig-of-nodes");
        server.write_kubeconfig(&kubeconfig)?;
        let members = (0..NODES).map(|number| {
            let node = sandbox.node(&format!("node-{number}"))?;
            let agent = Agent::of_node(&options.agent, sandbox, &kubeconfig, &node)
                .arg("--max-services")
                .arg("512")
                .arg("--max-endpoints")
                .arg("4096");
            Ok(NodeAgent {
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

    /// Stops the server and starts it again with a new Service. Adds the time that each agent took to apply it.
    fn survive_outage(self, away: Duration, took: &mut Vec<Duration>) -> Result<Self> {
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
        let mut waiting: Vec<&NodeAgent> = members.iter().collect();
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
                bail!(
                    "{} agents have not recovered within {PATIENCE:?}",
                    waiting.len()
                );
            }
            thread::sleep(LOOK_EVERY);
        }
        Ok(Self {
            server,
            services,
            members,
        })
    }

    /// List and watch requests since the server started again.
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
