//! `socklb.dev/spill-over`: the shares of a zone and of the others while endpoints of the zone are not ready.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};

use anyhow::{Result, ensure};
use lb_testbed::{
    Agent, AgentProcess, ChiSquare, Endpoint, Family, Manifests, Pod, Sandbox, ServiceManifest,
    SliceManifest, connect, connect_name, sandboxed,
};
use serde_json::json;

use crate::churn::Client;
use crate::support::{PORT, Servers, TARGET, agent, answers, backends, cluster_ip, eventually};

const TO: SocketAddr = SocketAddr::new(IpAddr::V4(cluster_ip(10)), PORT);

/// The Service `web` with four pods in the node's zone and two in another.
struct Zones {
    servers: Servers,
    client: Pod,
    manifests: Manifests,
    agent: Agent,
    running: AgentProcess,
}

/// How many of the zone's pods are ready.
#[derive(Clone, Copy)]
enum Ready {
    All,
    Half,
}

impl Zones {
    fn start(sandbox: &Sandbox, algorithm: &str, ready: Ready) -> Result<Self> {
        let servers = Servers::start(sandbox, 6)?;
        let manifests = sandbox.manifests()?;
        write(&manifests, &servers, algorithm, ready)?;
        let agent = agent(sandbox, &manifests)
            .arg("--log")
            .arg("info,lb_agent::agent=debug");
        Ok(Self {
            client: sandbox.pod("client")?,
            running: agent.start()?,
            servers,
            manifests,
            agent,
        })
    }

    /// Returns when it is in effect.
    fn set(&self, algorithm: &str, ready: Ready) -> Result<()> {
        let changes = || self.running.log().count("changes.applied");
        let before = changes();
        write(&self.manifests, &self.servers, algorithm, ready)?;
        eventually("the change is in effect", || Ok(changes() > before))
    }

    /// The number of answers of each pod.
    fn answers(&self, connects: usize) -> Result<Vec<u64>> {
        let answers = answers(&self.client, TO, connects)?;
        let of = |pod: &Pod| answers.get(pod.name()).copied().unwrap_or_default();
        Ok(self.servers.pods.iter().map(of).collect())
    }

    fn open(&self, number: usize) -> Result<Vec<TcpStream>> {
        Ok(self.client.enter(|| {
            let streams = (0..number).map(|_| connect(TO));
            streams.collect::<io::Result<Vec<_>>>()
        })??)
    }

    /// The number of open connections of each pod.
    fn active(&self) -> Result<Vec<u64>> {
        let list = backends(&self.agent)?;
        let of = |address: IpAddr| {
            let address = SocketAddr::new(address, TARGET).to_string();
            let found = list.iter().find(|backend| backend.address == address);
            found.map_or(0, |backend| backend.active)
        };
        Ok(self.servers.ipv4().into_iter().map(of).collect())
    }

    /// The pods to which connections spill over, by the agent's list.
    fn spilled_to(&self) -> Result<BTreeSet<String>> {
        let list = backends(&self.agent)?;
        let spilled = list.into_iter().filter(|backend| backend.spill_over);
        Ok(spilled.map(|backend| backend.address).collect())
    }
}

fn write(manifests: &Manifests, servers: &Servers, algorithm: &str, ready: Ready) -> Result<()> {
    let node = json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": "node-a", "labels": {"topology.kubernetes.io/zone": "west"}},
    });
    let service = ServiceManifest::new("web")
        .annotation("socklb.dev/spill-over", "1.4")
        .annotation("socklb.dev/algorithm", algorithm)
        .cluster_ip(TO.ip())
        .port("http", PORT);
    let mut slice = SliceManifest::new("web", Family::IPv4).port("http", TARGET);
    for (index, address) in servers.ipv4().into_iter().enumerate() {
        let zone = if index < 4 { "west" } else { "east" };
        let endpoint = Endpoint::new(address).zone(zone);
        let is_ready = matches!(ready, Ready::All) || !(2..4).contains(&index);
        slice = slice.endpoint(match is_ready {
            true => endpoint.field("hints", json!({"forZones": [{"name": zone}]})),
            false => endpoint.not_ready(),
        });
    }
    manifests.write("web.json", [node, service.to_json(), slice.to_json()])
}

/// 70 % stay in the zone, of which half is ready.
const SPLIT: [u64; 6] = [7, 7, 0, 0, 3, 3];

#[test]
fn random_and_round_robin_spill_over() {
    sandboxed(|sandbox| {
        let zones = Zones::start(sandbox, "random", Ready::Half)?;
        let shares = zones.answers(2_000)?;
        assert_eq!(shares[2..4], [0, 0]);
        let ready = [shares[0], shares[1], shares[4], shares[5]];
        let split = ChiSquare::weighted(&ready, &[7, 7, 3, 3]);
        ensure!(split.is_plausible(), "{shares:?}: {split:?}");

        zones.set("round-robin", Ready::Half)?;
        assert_eq!(zones.answers(400)?, SPLIT.map(|part| 20 * part));
        Ok(())
    });
}

#[test]
fn least_conn_and_maglev_spill_over() {
    sandboxed(|sandbox| {
        let zones = Zones::start(sandbox, "least-conn", Ready::Half)?;
        let streams = zones.open(400)?;
        let active = zones.active()?;
        let is_near = |(is, part): (&u64, u64)| is.abs_diff(20 * part) <= 12;
        ensure!(active.iter().zip(SPLIT).all(is_near), "{active:?}");
        drop(streams);

        zones.set("maglev", Ready::Half)?;
        let mut names = BTreeMap::new();
        for client in sandbox.pods(60)? {
            let name = client.enter(|| connect_name(TO))??;
            *names.entry(name).or_insert(0_u64) += 1;
        }
        let far = &zones.servers.pods[4..];
        let spilled: u64 = far.iter().filter_map(|pod| names.get(pod.name())).sum();
        // 18, and four standard deviations.
        ensure!((4..=32).contains(&spilled), "{names:?}");
        Ok(())
    });
}

#[test]
fn connections_come_back_when_the_zone_is_ready_and_open_ones_stay() {
    sandboxed(|sandbox| {
        let zones = Zones::start(sandbox, "round-robin", Ready::All)?;
        assert_eq!(zones.answers(40)?, [10, 10, 10, 10, 0, 0]);
        assert_eq!(zones.spilled_to()?.len(), 0);
        let near = zones.open(40)?;

        let client = Client::start(&zones.client, TO, Result::is_ok);
        zones.set("round-robin", Ready::Half)?;
        client.finish()?;
        let far = &zones.servers.ipv4()[4..];
        let far = far
            .iter()
            .map(|ip| SocketAddr::new(*ip, TARGET).to_string());
        assert_eq!(zones.spilled_to()?, far.collect());
        let spilled = zones.open(200)?;
        // The lines of those that are not ready are gone.
        eventually("the client's connections are closed", || {
            let active = zones.active()?;
            Ok([0, 1, 4, 5].map(|pod| active[pod]) == [80, 80, 30, 30])
        })?;

        let client = Client::start(&zones.client, TO, Result::is_ok);
        zones.set("round-robin", Ready::All)?;
        client.finish()?;
        assert_eq!(zones.answers(40)?, [10, 10, 10, 10, 0, 0]);
        assert_eq!(zones.spilled_to()?.len(), 0);
        eventually("the client's connections are closed", || {
            let active = zones.active()?;
            Ok([0, 1, 4, 5].map(|pod| active[pod]) == [80, 80, 30, 30])
        })?;
        for mut stream in near.into_iter().chain(spilled) {
            let mut name = [0; 64];
            let length = io::Read::read(&mut stream, &mut name)?;
            ensure!(length > 0, "the connection is open");
        }
        Ok(())
    });
}
