//! How a backend is chosen: session affinity, and the distribution of each algorithm.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};
use std::{io, thread};

use anyhow::{Result, ensure};
use lb_testbed::{
    Agent, AgentProcess, Endpoint, Family, Manifests, NamedServer, Pod, Sandbox, ServiceManifest,
    SliceManifest, ask_udp, connect, connect_name, sandboxed,
};
use serde_json::json;

use crate::churn::Client;
use crate::support::{PORT, TARGET, agent, answers, cluster_ip, eventually};

const TO: SocketAddr = SocketAddr::new(IpAddr::V4(cluster_ip(10)), PORT);
const EXTERNAL: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);

/// The Service `web` over TCP and UDP, which tests write repeatedly.
struct Web {
    pods: Vec<Pod>,
    client: Pod,
    manifests: Manifests,
    agent: Agent,
    running: AgentProcess,
    _servers: Vec<NamedServer>,
}

impl Web {
    fn start(sandbox: &Sandbox, pods: usize, service: &ServiceManifest) -> Result<Self> {
        let pods = sandbox.pods(pods)?;
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
        manifests.write("web.json", [service.to_json(), slice(&pods, 0).to_json()])?;
        Ok(Self {
            client: sandbox.pod("client")?,
            running: agent.start()?,
            pods,
            manifests,
            agent,
            _servers: servers,
        })
    }

    /// Writes one changed object, and waits until it is in effect.
    fn write(&self, service: &ServiceManifest, slice: &SliceManifest) -> Result<()> {
        let changes = || self.running.log().count("changes.applied");
        let before = changes();
        let objects = [service.to_json(), slice.to_json()];
        self.manifests.write("web.json", objects)?;
        eventually("the change is in effect", || Ok(changes() > before))
    }

    fn name(&self) -> Result<String> {
        Ok(self.client.enter(|| connect_name(TO))??)
    }

    /// The pods that answer to this many connects.
    fn names(&self, connects: usize) -> Result<BTreeSet<String>> {
        (0..connects).map(|_| self.name()).collect()
    }
}

fn service() -> ServiceManifest {
    ServiceManifest::new("web")
        .cluster_ip(TO.ip())
        .spec("externalIPs", json!([EXTERNAL]))
        .port("tcp", PORT)
        .udp_port("udp", PORT)
}

fn sticky(seconds: u32) -> ServiceManifest {
    service().spec("sessionAffinity", json!("ClientIP")).spec(
        "sessionAffinityConfig",
        json!({"clientIP": {"timeoutSeconds": seconds}}),
    )
}

fn algorithm(name: &str) -> ServiceManifest {
    service().annotation("socklb.dev/algorithm", name)
}

/// All of the pods except the first ones.
fn slice(pods: &[Pod], without: usize) -> SliceManifest {
    SliceManifest::new("web", Family::IPv4)
        .port("tcp", TARGET)
        .udp_port("udp", TARGET)
        .addresses(pods[without..].iter().map(Pod::ipv4))
}

#[test]
fn affinity_covers_every_frontend() {
    sandboxed(|sandbox| {
        let _web = Web::start(sandbox, 8, &sticky(100))?;
        let external = SocketAddr::from((EXTERNAL, PORT));
        let clients = sandbox.pods(10)?;
        let mut names = BTreeSet::new();
        for client in &clients {
            client.enter(|| -> Result<()> {
                let (tcp, udp) = (connect_name(TO)?, ask_udp(TO)?);
                for _ in 0..20 {
                    for to in [TO, external] {
                        assert_eq!(connect_name(to)?, tcp);
                        assert_eq!(ask_udp(to)?, udp);
                    }
                }
                names.insert(tcp);
                Ok(())
            })??;
        }
        ensure!(names.len() > 1, "clients have backends of their own");
        Ok(())
    });
}

/// Each connect renews it, as in kube-proxy's iptables mode.
#[test]
fn affinity_ends_after_its_timeout_without_use() {
    sandboxed(|sandbox| {
        let web = Web::start(sandbox, 8, &sticky(3))?;
        let mut since = Instant::now();
        let mut asked = since;
        let mut first = web.name()?;
        while since.elapsed() < Duration::from_secs(4) {
            thread::sleep(Duration::from_millis(500));
            let before = std::mem::replace(&mut asked, Instant::now());
            let name = web.name()?;
            if before.elapsed() < Duration::from_millis(2_800) {
                assert_eq!(name, first, "renewed in time");
            } else {
                // The machine was too busy to renew it in time: try again.
                (since, first) = (asked, name);
            }
        }
        // One time in eight it is the same by chance.
        let has_moved = (0..12).any(|_| {
            thread::sleep(Duration::from_millis(3_200));
            web.name().is_ok_and(|name| name != first)
        });
        ensure!(has_moved, "it never ends");
        Ok(())
    });
}

#[test]
fn only_clients_of_a_removed_backend_move() {
    sandboxed(|sandbox| {
        let web = Web::start(sandbox, 4, &sticky(100))?;
        let clients = sandbox.pods(16)?;
        let names = || -> Result<Vec<String>> {
            let names = clients
                .iter()
                .map(|client| client.enter(|| connect_name(TO)));
            Ok(names
                .collect::<io::Result<Vec<_>>>()?
                .into_iter()
                .collect::<io::Result<_>>()?)
        };
        let before = names()?;
        web.write(&sticky(100), &slice(&web.pods, 1))?;
        let after = names()?;
        for (before, after) in before.iter().zip(&after) {
            if before == web.pods[0].name() {
                assert_ne!(before, after, "it has left");
            } else {
                assert_eq!(before, after);
            }
        }
        // The backend does not get back the clients that had to move.
        web.write(&sticky(100), &slice(&web.pods, 0))?;
        assert_eq!(names()?, after);
        Ok(())
    });
}

/// A backend that belongs to only one of the views is not a choice for the other's frontends.
#[test]
fn affinity_never_overrides_a_view() {
    sandboxed(|sandbox| {
        let web = Web::start(sandbox, 6, &sticky(100))?;
        let remote = |slice: SliceManifest, pod: &Pod| {
            slice.endpoint(Endpoint::new(pod.ipv4()).node("node-b"))
        };
        let bare = SliceManifest::new("web", Family::IPv4)
            .port("tcp", TARGET)
            .udp_port("udp", TARGET);
        let slice = web.pods[1..].iter().fold(bare, remote);
        let slice = slice.endpoint(Endpoint::new(web.pods[0].ipv4()).node("node-a"));
        let local = sticky(100).spec("internalTrafficPolicy", json!("Local"));
        web.write(&local, &slice)?;
        let external = SocketAddr::from((EXTERNAL, PORT));
        let clients = sandbox.pods(10)?;
        let mut elsewhere = 0;
        for client in &clients {
            client.enter(|| -> Result<()> {
                elsewhere += usize::from(connect_name(external)? != web.pods[0].name());
                assert_eq!(connect_name(TO)?, web.pods[0].name(), "the only local one");
                Ok(())
            })??;
        }
        ensure!(elsewhere > 0, "externally all are choices");
        Ok(())
    });
}

#[test]
fn affinity_can_be_switched_on_and_off_for_new_connections() {
    sandboxed(|sandbox| {
        let web = Web::start(sandbox, 4, &service())?;
        let all = slice(&web.pods, 0);
        for _ in 0..2 {
            ensure!(web.names(60)?.len() > 1, "off");
            web.write(&sticky(100), &all)?;
            assert_eq!(web.names(60)?.len(), 1, "on");
            web.write(&service(), &all)?;
        }
        Ok(())
    });
}

#[test]
fn round_robin_is_exact() {
    sandboxed(|sandbox| {
        let web = Web::start(sandbox, 3, &algorithm("round-robin"))?;
        let answers = answers(&web.client, TO, 300)?;
        assert_eq!(answers.values().copied().collect::<Vec<_>>(), [100; 3]);
        Ok(())
    });
}

#[test]
fn least_conn_balances_open_connections() {
    sandboxed(|sandbox| {
        let web = Web::start(sandbox, 3, &algorithm("least-conn"))?;
        let open = |number: usize| -> Result<Vec<TcpStream>> {
            Ok(web.client.enter(|| {
                let streams = (0..number).map(|_| connect(TO));
                streams.collect::<io::Result<Vec<_>>>()
            })??)
        };
        let mut streams = open(300)?;
        assert_level(&web.agent, 100)?;
        // The sockets that half of the clients hold at one backend.
        let busiest = crate::support::backends(&web.agent)?.remove(0).address;
        let mut ended = 0;
        streams.retain(|stream| {
            let name = name_of(stream);
            let ends = ended < 50
                && web.pods.iter().any(|pod| {
                    pod.name() == name && busiest.starts_with(&format!("{}:", pod.ipv4()))
                });
            ended += usize::from(ends);
            !ends
        });
        assert_eq!(ended, 50);
        // The program compares two slots of three, so two connects of three go there.
        streams.extend(open(150)?);
        assert_level(&web.agent, 400 / 3)
    });
}

fn name_of(mut stream: &TcpStream) -> String {
    let mut name = [0; 64];
    let length = io::Read::read(&mut stream, &mut name).unwrap_or(0);
    String::from_utf8_lossy(&name[..length])
        .trim_end()
        .to_owned()
}

fn assert_level(agent: &Agent, wanted: u64) -> Result<()> {
    let active: Vec<u64> = crate::support::backends(agent)?
        .iter()
        .filter(|backend| backend.port == "tcp")
        .map(|backend| backend.active)
        .collect();
    ensure!(
        active.iter().all(|&active| active.abs_diff(wanted) <= 6),
        "{active:?}"
    );
    Ok(())
}

#[test]
fn maglev_chooses_by_client_and_moves_few() {
    sandboxed(|sandbox| {
        let web = Web::start(sandbox, 5, &algorithm("maglev"))?;
        let clients = sandbox.pods(60)?;
        let names = || -> Result<Vec<String>> {
            let name = |client: &Pod| -> Result<String> {
                Ok(client.enter(|| {
                    let name = connect_name(TO)?;
                    assert_eq!(connect_name(TO)?, name, "the same again");
                    io::Result::Ok(name)
                })??)
            };
            clients.iter().map(name).collect()
        };
        let before = names()?;
        let mut shares = BTreeMap::new();
        before
            .iter()
            .for_each(|name| *shares.entry(name).or_insert(0) += 1);
        ensure!(
            shares.len() == 5 && shares.values().all(|&share| share >= 3),
            "{shares:?}"
        );

        web.write(&algorithm("maglev"), &slice(&web.pods, 1))?;
        let moved = before
            .iter()
            .zip(names()?)
            .filter(|(before, after)| *before != after && *before != web.pods[0].name());
        let moved = moved.count();
        ensure!(moved <= 6, "{moved} of 60 moved that had no need to");
        Ok(())
    });
}

#[test]
fn changing_the_algorithm_of_a_live_service_loses_no_connection() {
    sandboxed(|sandbox| {
        let web = Web::start(sandbox, 3, &service())?;
        let all = slice(&web.pods, 0);
        let client = Client::start(&web.client, TO, Result::is_ok);
        for name in ["least-conn", "maglev", "round-robin", "random"].repeat(5) {
            web.write(&algorithm(name), &all)?;
        }
        client.finish()?;
        Ok(())
    });
}

#[test]
fn the_default_algorithm_applies_to_services_without_annotation() {
    sandboxed(|sandbox| {
        let mut web = Web::start(sandbox, 3, &service())?;
        web.running.terminate()?;
        let agent = web.agent.arg("--default-algorithm").arg("round-robin");
        let _running = agent.start()?;
        let answers = answers(&web.client, TO, 300)?;
        assert_eq!(answers.values().copied().collect::<Vec<_>>(), [100; 3]);
        Ok(())
    });
}
