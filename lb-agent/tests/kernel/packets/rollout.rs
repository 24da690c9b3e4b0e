//! Endpoints are replaced one by one while clients ask as fast as they can: no question fails, and none is answered by an
//! endpoint that had left before.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use lb_testbed::{Answer, Pod, Question, sandboxed};

use super::scene::{FAMILIES, Kind, PROTOCOLS, Protocol, Scene, Service};
use crate::netfilter::nft;
use crate::support::eventually;

/// How long to wait for an answer before asking again.
const IMPATIENCE: Duration = Duration::from_millis(500);

/// When each question began, and what came of it.
type Answers = Vec<(Instant, std::io::Result<Answer>)>;

/// Asks again once. A port that comes again continues a flow, and when that leads to an endpoint that has stopped serving, the agent
/// deletes it: an answer that is on its way then is lost.
fn ask_over_udp(to: SocketAddr) -> std::io::Result<Answer> {
    match Question::to(to).within(IMPATIENCE).over_udp() {
        Err(error) if matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock) => {
            Question::to(to).over_udp()
        }
        answer => answer,
    }
}

/// Fails if a chosen backend was not in the NAT maps: the last rule of the chain drops what it chose.
pub fn check_dropped() -> Result<()> {
    let listed = nft("list chain inet socklb nat")?;
    let mut rules = listed.lines().rev();
    let rule = rules.find(|line| line.trim_end().ends_with("drop"));
    let rule = rule.with_context(|| format!("no rule drops: {listed}"))?;
    ensure!(rule.contains("counter packets 0 "), "{rule}");
    Ok(())
}

/// Asks one address until it is stopped.
pub struct Asker {
    what: String,
    protocol: Protocol,
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    thread: JoinHandle<std::io::Result<Answers>>,
}

impl Asker {
    pub fn start(client: &Pod, to: SocketAddr, protocol: Protocol) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(AtomicU64::new(0));
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&answered));
        let thread = client.spawn(move || {
            let mut answers = Answers::new();
            while !stopped.load(Ordering::Relaxed) {
                let began = Instant::now();
                let answer = match protocol {
                    Protocol::Tcp => Question::to(to).over_tcp(),
                    Protocol::Udp => ask_over_udp(to),
                };
                answers.push((began, answer));
                count.fetch_add(1, Ordering::Relaxed);
            }
            answers
        });
        Self {
            what: format!("{} asks {to} over {protocol:?}", client.name()),
            protocol,
            stop,
            answered,
            thread,
        }
    }

    /// One for each protocol and family to a Service's NodePort from outside, and to its ClusterIP from a pod without hooks.
    pub fn start_all(scene: &Scene<'_>, service: &Service, pod: &Pod) -> Vec<Self> {
        let mut askers = Vec::new();
        for family in FAMILIES {
            let node = scene.outside.node_address(family);
            let node_port = service.at(Kind::NodePort, family, node);
            let cluster_ip = service.at(Kind::ClusterIp, family, node);
            for protocol in PROTOCOLS {
                askers.push(Self::start(scene.outside.machine(), node_port, protocol));
                askers.push(Self::start(pod, cluster_ip, protocol));
            }
        }
        askers
    }

    /// Waits until it was answered this many more times.
    pub fn wait_for(&self, more: u64) -> Result<()> {
        let before = self.answered.load(Ordering::Relaxed);
        eventually(&self.what, || {
            Ok(self.answered.load(Ordering::Relaxed) >= before + more)
        })
    }

    /// Stops it; fails if a question did. Returns when each question began, and who answered.
    pub fn finish(self) -> Result<Vec<(Instant, String)>> {
        self.stop.store(true, Ordering::Relaxed);
        let answers = self
            .thread
            .join()
            .map_err(|_| anyhow::anyhow!("{}: panicked", self.what))??;
        let number = answers.len();
        answers
            .into_iter()
            .enumerate()
            .map(|(index, (began, answer))| {
                let answer =
                    answer.with_context(|| format!("{}: {index} of {number}", self.what))?;
                Ok((began, answer.name))
            })
            .collect()
    }
}

#[test]
fn no_question_fails_while_endpoints_are_replaced() {
    const PODS: usize = 10;
    sandboxed(|sandbox| {
        let mut scene = Scene::new(sandbox)?;
        let pods = scene.pods(PODS)?;
        let service = Service::new("web", 10);
        let endpoints = |first: usize| [&pods[first], &pods[first + 1]].map(|pod| (pod, "node-a"));
        scene.write(&service, &endpoints(0))?;
        let pod = scene.node.pod_without_hooks("vm")?;
        let _running = scene.start()?;
        let askers = Asker::start_all(&scene, &service, &pod);
        let mut left: BTreeMap<String, Instant> = BTreeMap::new();
        for first in 1..PODS - 1 {
            for asker in &askers {
                asker.wait_for(3)?;
            }
            scene.write(&service, &endpoints(first))?;
            scene.wait_for_backends(&service, &endpoints(first))?;
            left.insert(pods[first - 1].name().to_owned(), Instant::now());
        }
        for asker in &askers {
            asker.wait_for(3)?;
        }
        check_dropped()?;
        for asker in askers {
            let (what, protocol) = (asker.what.clone(), asker.protocol);
            for (began, name) in asker.finish()? {
                // A client that gets a port again continues the UDP flow of that port.
                let left = left.get(&name).filter(|_| protocol == Protocol::Tcp);
                ensure!(
                    left.is_none_or(|left| began < *left),
                    "{what}: {name} answered, which had left"
                );
            }
        }
        Ok(())
    });
}
