//! Outlier detection: backends to which connects fail are avoided, tried again, and used again.

mod aborts;

use std::collections::BTreeSet;
use std::io;
use std::mem;
use std::net::SocketAddr;
use std::os::fd::AsRawFd as _;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_testbed::{
    Agent, AgentProcess, Event, Family, Manifests, NamedServer, Pod, Sandbox, ServiceManifest,
    SliceManifest, connect, connect_name, sandboxed,
};
use serde_json::json;
use socket2::{Domain, Socket, Type};

use crate::support::{PORT, TARGET, agent, backends, cluster_ip, eventually, status};

/// The address of the Service.
const TO: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(cluster_ip(10)), PORT);

/// A Service with pods, of which some can be broken.
struct Web {
    pods: Vec<Pod>,
    _servers: Vec<NamedServer>,
    client: Pod,
    manifests: Manifests,
    agent: Agent,
    running: AgentProcess,
}

impl Web {
    fn start(sandbox: &Sandbox, pods: usize, service: &ServiceManifest) -> Result<Self> {
        Self::start_with(sandbox, pods, service, &[])
    }

    /// `flags`: of the agent.
    fn start_with(
        sandbox: &Sandbox,
        pods: usize,
        service: &ServiceManifest,
        flags: &[&str],
    ) -> Result<Self> {
        let pods = sandbox.pods(pods)?;
        let servers = pods
            .iter()
            .map(|pod| NamedServer::tcp(pod, TARGET, pod.name()))
            .collect::<Result<_>>()?;
        let client = sandbox.pod("client")?;
        let manifests = sandbox.manifests()?;
        manifests.write("web.json", [service.to_json(), slice(&pods).to_json()])?;
        let agent = agent(sandbox, &manifests);
        let agent = flags.iter().fold(agent, |agent, flag| agent.arg(flag));
        let running = agent.start()?;
        Ok(Self {
            pods,
            _servers: servers,
            client,
            manifests,
            agent,
            running,
        })
    }

    /// Connects in threads of their own until the agent has logged this event, once more than so many times.
    fn connect_until(&self, event: &str, times: usize) -> Result<Event> {
        loop {
            if let Some(found) = self.running.log().events(event).nth(times) {
                return Ok(found.clone());
            }
            self.client.enter(|| {
                thread::scope(|scope| {
                    for _ in 0..6 {
                        // Some of them fail; that is the point.
                        scope.spawn(|| drop(connect(TO)));
                    }
                });
            })?;
        }
    }

    /// Who answers to this many connects. One connect may fail for each trial.
    fn answers(&self, connects: usize) -> Result<BTreeSet<String>> {
        let trials = || self.running.log().count("backend.trial_failed");
        let before = trials();
        let answers: Vec<io::Result<String>> = self
            .client
            .enter(|| (0..connects).map(|_| connect_name(TO)).collect())?;
        let failed = answers.iter().filter(|answer| answer.is_err()).count();
        ensure!(failed <= trials() - before + 1, "{failed}: {answers:?}");
        Ok(answers.into_iter().flatten().collect())
    }

    fn ejected(&self) -> Result<Vec<String>> {
        let listed = backends(&self.agent)?.into_iter();
        let ejected = listed.filter(|backend| backend.ejected);
        Ok(ejected.map(|backend| backend.address).collect())
    }
}

fn service() -> ServiceManifest {
    ServiceManifest::new("web")
        .cluster_ip(TO.ip())
        .port("http", PORT)
        .annotation("socklb.dev/outlier-detection", "true")
}

fn slice(pods: &[Pod]) -> SliceManifest {
    SliceManifest::new("web", Family::IPv4)
        .port("http", TARGET)
        .addresses(pods.iter().map(Pod::ipv4))
}

/// From now on the pod answers no SYN, as if its node were gone.
fn silence(pod: &Pod) -> Result<()> {
    pod.namespace().nft(
        "add table inet silent
        add chain inet silent input { type filter hook input priority 0; }
        add rule inet silent input meta l4proto tcp drop",
    )
}

/// From now on the pod refuses connections.
fn refuse(pod: &Pod) -> Result<()> {
    pod.namespace().nft(
        "add table inet silent
        add chain inet silent input { type filter hook input priority 0; }
        add rule inet silent input tcp flags syn reject with tcp reset",
    )
}

fn heal(pod: &Pod) -> Result<()> {
    pod.namespace().nft("delete table inet silent")
}

fn address(pod: &Pod) -> String {
    SocketAddr::from((pod.ipv4(), TARGET)).to_string()
}

#[test]
fn a_backend_that_drops_syns_is_avoided_until_it_answers_again() {
    sandboxed(|sandbox| {
        let web = Web::start(sandbox, 3, &service())?;
        ensure!(status(&web.agent)?.outlier_detection.is_on);
        silence(&web.pods[0])?;
        let event = web.connect_until("backend.ejected", 0)?;
        assert_eq!(event.text("backend"), address(&web.pods[0]));
        assert_eq!(event.text("service"), "web");
        assert_eq!(web.ejected()?, [address(&web.pods[0])]);
        assert_eq!(status(&web.agent)?.outlier_detection.ejected, 1);
        let others = BTreeSet::from([1, 2].map(|of| web.pods[of].name().to_owned()));
        assert_eq!(web.answers(100)?, others);

        let event = web.connect_until("backend.trial_failed", 0)?;
        assert_eq!(event.text("backend"), address(&web.pods[0]));
        assert_eq!(web.answers(100)?, others);

        heal(&web.pods[0])?;
        let event = web.connect_until("backend.readmitted", 0)?;
        assert_eq!(event.text("reason"), "Trial");
        assert_eq!(web.ejected()?, Vec::<String>::new());
        eventually("it answers", || {
            Ok(web.answers(20)?.contains(web.pods[0].name()))
        })
    });
}

/// A backend that refuses is avoided by this algorithm.
fn check_algorithm(sandbox: &Sandbox, algorithm: &str) -> Result<()> {
    let service = service().annotation("socklb.dev/algorithm", algorithm);
    let mut web = Web::start(sandbox, 4, &service)?;
    // With maglev a client always gets the same one.
    let first = web.answers(1)?;
    let refusing = web.pods.iter().find(|pod| first.contains(pod.name()));
    let refusing = refusing.context("it is a pod")?;
    refuse(refusing)?;
    let event = web.connect_until("backend.ejected", 0)?;
    assert_eq!(event.text("backend"), address(refusing));
    let refusing = refusing.name().to_owned();
    for client in sandbox.pods(6)? {
        web.client = client;
        ensure!(!web.answers(30)?.contains(&refusing));
    }
    Ok(())
}

#[test]
fn random_avoids_a_backend_that_refuses() {
    sandboxed(|sandbox| check_algorithm(sandbox, "random"));
}

#[test]
fn least_conn_avoids_a_backend_that_refuses() {
    sandboxed(|sandbox| check_algorithm(sandbox, "least-conn"));
}

#[test]
fn maglev_avoids_a_backend_that_refuses() {
    sandboxed(|sandbox| check_algorithm(sandbox, "maglev"));
}

#[test]
fn round_robin_avoids_a_backend_that_refuses() {
    sandboxed(|sandbox| check_algorithm(sandbox, "round-robin"));
}

#[test]
fn affinity_moves_away_from_an_ejected_backend() {
    sandboxed(|sandbox| {
        let sticky = service().spec("sessionAffinity", json!("ClientIP"));
        let web = Web::start(sandbox, 3, &sticky)?;
        let first = web.answers(3)?;
        ensure!(first.len() == 1, "affinity holds: {first:?}");
        let of = web.pods.iter().find(|pod| first.contains(pod.name()));
        refuse(of.context("it is a pod")?)?;
        web.connect_until("backend.ejected", 0)?;
        let next = web.answers(20)?;
        ensure!(next.len() == 1 && next != first, "{first:?}, {next:?}");
        Ok(())
    });
}

#[test]
fn if_all_backends_fail_all_are_used() {
    sandboxed(|sandbox| {
        let web = Web::start(sandbox, 2, &service())?;
        refuse(&web.pods[0])?;
        web.connect_until("backend.ejected", 0)?;
        refuse(&web.pods[1])?;
        let event = web.connect_until("backend.readmitted", 0)?;
        assert_eq!(event.text("reason"), "AllFail");
        assert_eq!(web.ejected()?, Vec::<String>::new());
        web.pods.iter().try_for_each(heal)?;
        eventually("both answer", || Ok(web.answers(20)?.len() == 2))
    });
}

#[test]
fn nothing_is_ejected_unless_a_service_asks() {
    sandboxed(|sandbox| {
        let plain = service().annotation("socklb.dev/outlier-detection", "false");
        let mut web = Web::start(sandbox, 3, &plain)?;
        ensure!(!status(&web.agent)?.outlier_detection.is_on);
        refuse(&web.pods[0])?;
        let attempts = || web.client.enter(|| connect(TO).is_err());
        let failed = (0..60).map(|_| attempts()).collect::<Result<Vec<_>, _>>()?;
        ensure!(failed.iter().filter(|failed| **failed).count() > 5);
        ensure!(web.ejected()?.is_empty());
        ensure!(backends(&web.agent)?.iter().all(|of| of.failures == 0));
        // The annotation takes effect on a live Service, in both directions.
        let slice = slice(&web.pods).to_json();
        web.manifests
            .write("web.json", [service().to_json(), slice.clone()])?;
        web.connect_until("backend.ejected", 0)?;
        eventually("it is on", || {
            Ok(status(&web.agent)?.outlier_detection.is_on)
        })?;
        web.manifests.write("web.json", [plain.to_json(), slice])?;
        let event = web.running.wait_for_event("backend.readmitted")?;
        assert_eq!(event.text("reason"), "Off");
        eventually("it is off", || {
            Ok(!status(&web.agent)?.outlier_detection.is_on)
        })
    });
}

#[test]
fn an_ejected_backend_comes_back_without_an_agent() {
    sandboxed(|sandbox| {
        let mut web = Web::start(sandbox, 3, &service())?;
        silence(&web.pods[0])?;
        web.connect_until("backend.ejected", 0)?;
        web.running.kill()?;
        heal(&web.pods[0])?;
        eventually("it answers", || {
            Ok(web.answers(20)?.contains(web.pods[0].name()))
        })
    });
}

#[test]
fn the_next_agent_knows_what_is_ejected() {
    sandboxed(|sandbox| {
        let mut web = Web::start(sandbox, 3, &service())?;
        silence(&web.pods[0])?;
        web.connect_until("backend.ejected", 0)?;
        web.running.kill()?;
        web.running = web.agent.start()?;
        assert_eq!(web.ejected()?, [address(&web.pods[0])]);
        assert_eq!(status(&web.agent)?.outlier_detection.ejected, 1);
        web.connect_until("backend.trial_failed", 0)?;
        Ok(())
    });
}

#[test]
fn the_first_retransmission_of_a_balanced_connect_comes_sooner_with_the_flag() {
    sandboxed(|sandbox| {
        let pod = sandbox.pod("web")?;
        silence(&pod)?;
        let client = sandbox.pod("client")?;
        let manifests = sandbox.manifests()?;
        let slice = slice(std::slice::from_ref(&pod));
        manifests.write("web.json", [service().to_json(), slice.to_json()])?;
        let agent = agent(sandbox, &manifests);
        let plain = agent.start()?;
        let timeouts = || -> Result<[Duration; 2]> {
            let direct = SocketAddr::from((pod.ipv4(), TARGET));
            let times = [TO, direct].map(|to| client.enter(|| retransmission_timeout(to)));
            let [balanced, direct] = times;
            Ok([balanced??, direct??])
        };
        let second = Duration::from_secs(1);
        assert_eq!(timeouts()?, [second, second]);
        drop(plain);
        let mut running = agent.arg("--syn-timeout").arg("300ms").start()?;
        assert_eq!(timeouts()?, [Duration::from_millis(300), second]);
        // It does not outlive the agent.
        running.terminate()?;
        assert_eq!(timeouts()?, [second, second]);
        Ok(())
    });
}

/// The retransmission time-out of a connect that is under way.
fn retransmission_timeout(to: SocketAddr) -> io::Result<Duration> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    let begun = socket.connect(&to.into()).map_err(|e| e.raw_os_error());
    assert_eq!(begun, Err(Some(libc::EINPROGRESS)));
    // SAFETY: all bytes zero is a value of this plain C structure.
    let mut info: libc::tcp_info = unsafe { mem::zeroed() };
    let mut length = u32::try_from(size_of_val(&info)).expect("a small structure");
    // SAFETY: the kernel writes at most `length` bytes.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast(),
            &raw mut length,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Duration::from_micros(info.tcpi_rto.into()))
}
