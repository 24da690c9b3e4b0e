//! Weights of EndpointSlices: shares of new connections, and changes of them on a live Service.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};

use anyhow::{Result, ensure};
use lb_testbed::{
    Agent, AgentProcess, ChiSquare, Family, Manifests, NamedServer, Pod, Sandbox, ServiceManifest,
    SliceManifest, connect, connect_name, sandboxed,
};
use serde_json::json;
use socket2::Domain;

use crate::churn::Client;
use crate::support::{PORT, TARGET, agent, answers, backends, cluster_ip, eventually, failure};
use crate::udp;

const TO: SocketAddr = SocketAddr::new(IpAddr::V4(cluster_ip(10)), PORT);

/// The Service `web` over TCP and UDP, with a slice for each pod.
struct Web {
    pods: Vec<Pod>,
    client: Pod,
    manifests: Manifests,
    agent: Agent,
    running: AgentProcess,
    _servers: Vec<NamedServer>,
}

impl Web {
    fn start(sandbox: &Sandbox, service: &ServiceManifest, weights: &[&str]) -> Result<Self> {
        let pods = sandbox.pods(weights.len())?;
        let mut servers = Vec::new();
        for pod in &pods {
            servers.push(NamedServer::tcp(pod, TARGET, pod.name())?);
            servers.push(NamedServer::udp(pod, TARGET, pod.name())?);
        }
        let manifests = sandbox.manifests()?;
        // Only there does each change have an event of its own.
        let agent = agent(sandbox, &manifests)
            .arg("--log")
            .arg("info,lb_agent::agent=debug");
        write(&manifests, &pods, service, weights)?;
        Ok(Self {
            client: sandbox.pod("client")?,
            running: agent.start()?,
            pods,
            manifests,
            agent,
            _servers: servers,
        })
    }

    /// Gives each pod its weight, and waits until that is in effect. "" is no annotation.
    fn set(&self, service: &ServiceManifest, weights: &[&str]) -> Result<()> {
        let changes = || self.running.log().count("changes.applied");
        let before = changes();
        write(&self.manifests, &self.pods, service, weights)?;
        eventually("the change is in effect", || Ok(changes() > before))
    }

    fn name(&self) -> Result<String> {
        Ok(self.client.enter(|| connect_name(TO))??)
    }

    /// The number of answers of each pod.
    fn answers(&self, connects: usize) -> Result<Vec<u64>> {
        let answers = answers(&self.client, TO, connects)?;
        let of = |pod: &Pod| answers.get(pod.name()).copied().unwrap_or_default();
        Ok(self.pods.iter().map(of).collect())
    }

    fn open(&self, number: usize) -> Result<Vec<TcpStream>> {
        Ok(self.client.enter(|| {
            let streams = (0..number).map(|_| connect(TO));
            streams.collect::<io::Result<Vec<_>>>()
        })??)
    }

    /// The number of open TCP connections of each pod.
    fn active(&self) -> Result<Vec<u64>> {
        let list = backends(&self.agent)?;
        let of = |pod: &Pod| {
            let address = SocketAddr::from((pod.ipv4(), TARGET)).to_string();
            let mut of_tcp = list.iter().filter(|of| of.port == "tcp");
            let found = of_tcp.find(|backend| backend.address == address);
            found.map_or(0, |backend| backend.active)
        };
        Ok(self.pods.iter().map(of).collect())
    }
}

fn write(
    manifests: &Manifests,
    pods: &[Pod],
    service: &ServiceManifest,
    weights: &[&str],
) -> Result<()> {
    let slices = pods.iter().zip(weights).map(|(pod, weight)| {
        let slice = SliceManifest::new("web", Family::IPv4)
            .named(pod.name())
            .port("tcp", TARGET)
            .udp_port("udp", TARGET)
            .address(pod.ipv4());
        match weight.is_empty() {
            true => slice.to_json(),
            false => slice.annotation("socklb.dev/weight", weight).to_json(),
        }
    });
    manifests.write("web.json", std::iter::once(service.to_json()).chain(slices))
}

fn by(algorithm: &str) -> ServiceManifest {
    ServiceManifest::new("web")
        .annotation("socklb.dev/algorithm", algorithm)
        .cluster_ip(TO.ip())
        .port("tcp", PORT)
        .udp_port("udp", PORT)
}

fn sticky() -> ServiceManifest {
    by("random").spec("sessionAffinity", json!("ClientIP"))
}

#[test]
fn random_and_round_robin_split_by_weight() {
    sandboxed(|sandbox| {
        let weights = ["10", "", "50"];
        let web = Web::start(sandbox, &by("random"), &weights)?;
        let shares = web.answers(3_050)?;
        let split = ChiSquare::weighted(&shares, &[10, 1, 50]);
        ensure!(split.is_plausible(), "{shares:?}: {split:?}");

        web.set(&by("round-robin"), &weights)?;
        assert_eq!(web.answers(610)?, [100, 10, 500]);
        Ok(())
    });
}

#[test]
fn round_robin_does_not_send_a_heavy_backend_everything_in_a_row() {
    sandboxed(|sandbox| {
        let web = Web::start(sandbox, &by("round-robin"), &["1000", "500", "250"])?;
        let names: Vec<String> = (0..70).map(|_| web.name()).collect::<Result<_>>()?;
        let heavy = web.pods[0].name();
        let runs = names.split(|name| name != heavy).map(<[String]>::len);
        let longest = runs.max();
        ensure!(longest <= Some(2), "{longest:?}: {names:?}");
        Ok(())
    });
}

#[test]
fn least_conn_counts_connections_by_weight() {
    sandboxed(|sandbox| {
        let web = Web::start(sandbox, &by("least-conn"), &["1", "2", "5"])?;
        let _streams = web.open(400)?;
        let active = web.active()?;
        let wanted = [50, 100, 250];
        let is_near = |(is, wanted): (&u64, u64)| is.abs_diff(wanted) <= 10;
        ensure!(active.iter().zip(wanted).all(is_near), "{active:?}");

        // All weights alike: the next connections go where fewer are, until all have as many.
        web.set(&by("least-conn"), &["7", "7", "7"])?;
        let _more = web.open(350)?;
        let active = web.active()?;
        ensure!(
            active.iter().all(|active| active.abs_diff(250) <= 10),
            "{active:?}"
        );
        Ok(())
    });
}

#[test]
fn maglev_splits_clients_by_weight() {
    sandboxed(|sandbox| {
        let web = Web::start(sandbox, &by("maglev"), &["1", "1", "8"])?;
        let clients = sandbox.pods(60)?;
        let names = || -> Result<Vec<String>> {
            let names = clients
                .iter()
                .map(|client| -> Result<String> { Ok(client.enter(|| connect_name(TO))??) });
            names.collect()
        };
        let before = names()?;
        let mut shares = BTreeMap::new();
        for name in &before {
            *shares.entry(name.as_str()).or_insert(0_u32) += 1;
        }
        let heavy = shares.get(web.pods[2].name()).copied().unwrap_or_default();
        ensure!((36..=58).contains(&heavy), "{shares:?}");

        // Most clients stay, since two shares of ten move.
        web.set(&by("maglev"), &["1", "3", "8"])?;
        let after = names()?;
        let moved = before.iter().zip(&after).filter(|(a, b)| a != b).count();
        ensure!(moved <= 25, "{moved} of 60");
        Ok(())
    });
}

#[test]
fn a_change_of_a_weight_on_a_live_service_loses_no_connection() {
    sandboxed(|sandbox| {
        let web = Web::start(sandbox, &by("random"), &["", "", ""])?;
        let streams = web.open(30)?;
        let before = web.active()?;
        let client = Client::start(&web.client, TO, Result::is_ok);
        for algorithm in ["random", "least-conn", "maglev", "round-robin"] {
            for weights in [["1000", "1", ""], ["0", "3", "2"], ["", "", "0"], ["5"; 3]] {
                web.set(&by(algorithm), &weights)?;
            }
        }
        client.finish()?;
        eventually("only the old connections are open", || {
            Ok(web.active()? == before)
        })?;
        for mut stream in streams {
            let mut name = [0; 64];
            let length = io::Read::read(&mut stream, &mut name)?;
            ensure!(length > 0, "the connection is open");
        }
        Ok(())
    });
}

#[test]
fn weight_0_gets_no_new_connection_and_keeps_those_that_it_has() {
    sandboxed(|sandbox| {
        let web = Web::start(sandbox, &by("random"), &["", ""])?;
        let drained = web.pods[0].name();
        let _streams = web.open(20)?;
        let before = web.active()?;
        ensure!(before.iter().all(|active| *active > 0), "{before:?}");
        // An unconnected UDP socket whose flow goes there.
        let flow = web.client.enter(|| -> Result<_> {
            loop {
                let socket = udp::socket(Domain::IPV4)?;
                if udp::ask(&socket, TO)? == drained {
                    return Ok(socket);
                }
            }
        })??;

        web.set(&by("random"), &["0", ""])?;
        assert_eq!(web.answers(100)?, [0, 100]);
        assert_eq!(web.active()?, before);
        assert_eq!(udp::ask(&flow, TO)?, drained);
        let list = backends(&web.agent)?;
        let weights: BTreeSet<_> = list.iter().map(|of| (of.weight, of.internal)).collect();
        assert_eq!(weights, [(0, false), (1, true)].into());

        web.set(&by("random"), &["0", "0"])?;
        let error = failure(&web.client, TO)?;
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(udp::ask(&flow, TO)?, drained);

        web.set(&by("random"), &["2", "0"])?;
        assert_eq!(web.answers(20)?, [20, 0]);
        Ok(())
    });
}

/// A Service whose new backends get a tenth of their weight for six minutes and more.
fn slowly(algorithm: &str) -> ServiceManifest {
    by(algorithm).annotation("socklb.dev/slow-start", "1h")
}

#[test]
fn a_new_backend_starts_slowly_and_gets_its_whole_share_in_time() {
    sandboxed(|sandbox| {
        let mut web = Web::start(sandbox, &slowly("random"), &["", "0"])?;
        let percents = |web: &Web| -> Result<Vec<u8>> {
            let list = backends(&web.agent)?;
            let of_tcp = list.iter().filter(|of| of.port == "tcp");
            let mut percents: Vec<u8> = of_tcp.map(|of| of.weight_percent).collect();
            percents.sort_unstable();
            Ok(percents)
        };
        // The second one comes.
        web.set(&slowly("random"), &["", ""])?;
        assert_eq!(percents(&web)?, [10, 100]);
        let shares = web.answers(1_100)?;
        let split = ChiSquare::weighted(&shares, &[10, 1]);
        ensure!(split.is_plausible(), "{shares:?}: {split:?}");

        // Its start takes no longer than the annotation says now, and needs no further change of an object.
        let soon = by("random").annotation("socklb.dev/slow-start", "5s");
        web.set(&soon, &["", ""])?;
        let client = Client::start(&web.client, TO, Result::is_ok);
        eventually("its whole weight counts", || {
            Ok(percents(&web)? == [100, 100])
        })?;
        client.finish()?;
        let shares = web.answers(1_000)?;
        let split = ChiSquare::uniform(&shares);
        ensure!(split.is_plausible(), "{shares:?}: {split:?}");

        // For an agent that starts, no backend is new.
        web.set(&slowly("random"), &["", "0"])?;
        web.set(&slowly("random"), &["", ""])?;
        assert_eq!(percents(&web)?, [10, 100]);
        web.running.terminate()?;
        web.running = web.agent.start()?;
        assert_eq!(percents(&web)?, [100, 100]);
        Ok(())
    });
}

#[test]
fn least_conn_does_not_send_everything_to_a_new_backend() {
    sandboxed(|sandbox| {
        let web = Web::start(sandbox, &slowly("least-conn"), &["", "0"])?;
        let _streams = web.open(100)?;
        web.set(&slowly("least-conn"), &["", ""])?;
        let _more = web.open(50)?;
        let active = web.active()?;
        ensure!((1..=25).contains(&active[1]), "{active:?}");
        // Without slow start, the same backend gets all until it has as many.
        web.set(&by("least-conn"), &["", ""])?;
        let _most = web.open(50)?;
        let active = web.active()?;
        ensure!(active[0].abs_diff(active[1]) <= 90, "{active:?}");
        ensure!(active[1] >= 35, "{active:?}");
        Ok(())
    });
}

#[test]
fn affinity_moves_away_from_weight_0() {
    sandboxed(|sandbox| {
        let web = Web::start(sandbox, &sticky(), &["1", "1"])?;
        let first = web.name()?;
        let is_first = |pod: &Pod| pod.name() == first;
        let drain: Vec<&str> = web
            .pods
            .iter()
            .map(|pod| if is_first(pod) { "0" } else { "1" })
            .collect();
        web.set(&sticky(), &drain)?;
        let other = web.name()?;
        assert_ne!(other, first);
        // It has the client's affinity by now. Other weights do not matter.
        let heavy: Vec<&str> = web
            .pods
            .iter()
            .map(|pod| if is_first(pod) { "1000" } else { "1" })
            .collect();
        web.set(&sticky(), &heavy)?;
        assert_eq!(web.answers(20)?.into_iter().max(), Some(20));
        assert_eq!(web.name()?, other);
        Ok(())
    });
}
