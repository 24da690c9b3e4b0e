//! Lives of agents: the packet path works without one, and stays whole when they follow each other.

use std::fs;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_testbed::{Agent, AgentProcess, Pod, sandboxed, sandboxed_within, stretched};
use nix::net::if_::if_nametoindex;

use super::devices::links;
use super::earlier::has_tcx;
use super::flow::Flow;
use super::outcome::Outcome::{Answered, Refused};
use super::outcome::{expect, wait_for};
use super::rollout::{Asker, check_dropped};
use super::scene::{FAMILIES, Kind, PROTOCOLS, Placed, Protocol, Scene, Service};
use crate::endurance::rounds;
use crate::netfilter::nft;
use crate::support::unload;

/// How often an agent is killed, unless SOCKLB_TEST_ROUNDS says otherwise.
const KILLS: u32 = 40;

/// Endpoints of the Service at any time.
const ENDPOINTS: usize = 2;

/// A Service whose endpoints move on, and clients that ask all the time.
struct Load<'s> {
    scene: Scene<'s>,
    service: Service,
    pods: Vec<Pod>,
    askers: Vec<Asker>,
    flows: Vec<Flow>,
}

impl<'s> Load<'s> {
    /// Starts the first agent too.
    fn start(mut scene: Scene<'s>) -> Result<(Self, AgentProcess)> {
        let pods = scene.pods(5)?;
        let service = Service::new("web", 10);
        let mut load = Self {
            scene,
            service,
            pods,
            askers: Vec::new(),
            flows: Vec::new(),
        };
        load.write(0)?;
        let pod = load.scene.node.pod_without_hooks("vm")?;
        let running = load.scene.start()?;
        load.askers = Asker::start_all(&load.scene, &load.service, &pod);
        for family in FAMILIES {
            let node = load.scene.outside.node_address(family);
            let to = load.service.at(Kind::NodePort, family, node);
            let client = load.scene.outside.machine();
            load.flows.push(Flow::open(client, to, Protocol::Tcp)?.0);
        }
        Ok((load, running))
    }

    fn endpoints(&self, round: usize) -> Vec<Placed<'_>> {
        let pods = self.pods.iter().cycle().skip(round % self.pods.len());
        pods.take(ENDPOINTS).map(|pod| (pod, "node-a")).collect()
    }

    /// Moves the endpoints by one.
    fn write(&self, round: usize) -> Result<()> {
        self.scene.write(&self.service, &self.endpoints(round))
    }

    /// With the last agent ready: each client still gets answers, and none was refused one before.
    fn finish(mut self, round: usize) -> Result<()> {
        self.scene
            .wait_for_backends(&self.service, &self.endpoints(round))?;
        for asker in &self.askers {
            asker.wait_for(3)?;
        }
        check_dropped()?;
        let mut answers = 0;
        for asker in self.askers {
            answers += asker.finish()?.len();
        }
        println!("{answers} questions were answered");
        self.flows
            .iter_mut()
            .try_for_each(|flow| flow.ask().map(drop))
    }
}

#[test]
fn no_question_from_outside_fails_while_agents_are_killed() {
    sandboxed_within(Duration::from_secs(600), |sandbox| {
        let (load, mut running) = Load::start(Scene::new(sandbox)?)?;
        let mut random = fastrand::Rng::new();
        let mut round = 0;
        for kill in 0..rounds(KILLS)? {
            round += 1;
            // Before, while, and after the agent takes it.
            match kill % 4 {
                0 => {
                    running.wait_ready()?;
                    load.write(round)?;
                    load.scene
                        .wait_for_backends(&load.service, &load.endpoints(round))?;
                }
                1 => {
                    running.wait_ready()?;
                    load.write(round)?;
                    thread::sleep(Duration::from_micros(random.u64(..30_000)));
                }
                _ => {
                    load.write(round)?;
                    thread::sleep(stretched(Duration::from_millis(random.u64(..400))));
                }
            }
            running.kill()?;
            running = load.scene.agent.spawn()?;
        }
        running.wait_ready()?;
        load.finish(round)
    });
}

#[test]
fn no_question_from_outside_fails_while_the_tables_move() {
    sandboxed(|sandbox| {
        let (load, mut running) = Load::start(Scene::new(sandbox)?)?;
        let mut round = 0;
        for [services, endpoints] in [["300", "2000"], ["700", "1000"], ["10000", "250000"]] {
            round += 1;
            load.write(round)?;
            running.terminate()?;
            let agent: Agent = load.scene.agent.clone();
            running = agent
                .arg("--max-services")
                .arg(services)
                .arg("--max-endpoints")
                .arg(endpoints)
                .start()?;
            ensure!(running.log().has("migration.finished"), "{}", running.log());
            load.scene
                .wait_for_backends(&load.service, &load.endpoints(round))?;
            // Of the new size, and with no element of a backend that is not there.
            let tables = nft("list table inet socklb")?;
            ensure!(tables.contains("size "), "{tables}");
        }
        load.finish(round)
    });
}

#[test]
fn no_question_from_outside_fails_while_agents_hand_over() {
    sandboxed(|sandbox| {
        let (load, mut running) = Load::start(Scene::new(sandbox)?)?;
        let pins = links(&load.scene)?;
        ensure!(pins.is_empty() != has_tcx()?);
        let mut round = 0;
        for _ in 0..6 {
            round += 1;
            load.write(round)?;
            let mut next = load.scene.agent.spawn()?;
            next.wait_ready()?;
            ensure!(next.log().has("agent.took_over"), "{}", next.log());
            ensure!(
                links(&load.scene)? == pins,
                "the program was away for a while"
            );
            load.scene
                .wait_for_backends(&load.service, &load.endpoints(round))?;
            let mut last = std::mem::replace(&mut running, next);
            last.wait_for_event("agent.stands_by")?;
            ensure!(last.terminate()?.success());
        }
        ensure!(running.log().warnings().is_empty(), "{}", running.log());
        load.finish(round)
    });
}

#[test]
fn packets_fail_open_without_an_agent_and_are_balanced_with_the_next() {
    sandboxed(|sandbox| {
        let mut scene = Scene::new(sandbox)?;
        scene.agent = scene.agent.clone().arg("--step-aside-after=5s");
        let pods = scene.pods(1)?;
        let service = Service::new("web", 10);
        scene.write(&service, &[(&pods[0], "node-a")])?;
        let mut running = scene.start()?;
        let client = scene.outside.machine();
        let become_all = |wanted| {
            for family in FAMILIES {
                let to = service.at(Kind::NodePort, family, scene.outside.node_address(family));
                for protocol in PROTOCOLS {
                    wait_for(client, to, protocol, wanted)?;
                }
            }
            anyhow::Ok(())
        };
        become_all(Answered)?;
        let to = service.at(
            Kind::NodePort,
            FAMILIES[0],
            scene.outside.node_address(FAMILIES[0]),
        );
        let (mut flow, _) = Flow::open(client, to, Protocol::Tcp)?;
        running.kill()?;
        // No socket of the node listens there.
        become_all(Refused)?;
        flow.ask()?;
        let _running = scene.start()?;
        become_all(Answered)?;
        flow.ask().map(drop)
    });
}

/// What is left of the packet path in the kernel: whether there are a table, links or filters.
fn is_left(scene: &Scene<'_>) -> Result<(bool, bool)> {
    let tables = nft("list tables")?;
    let is_attached = if has_tcx()? {
        let index = if_nametoindex(&*scene.outside.device())?;
        let pin = scene.agent.pin_dir().join(format!("links/packet_{index}"));
        fs::exists(pin)?
    } else {
        let arguments = ["filter", "show", "dev", &scene.outside.device(), "ingress"];
        let filters = std::process::Command::new("tc").args(arguments).output()?;
        ensure!(filters.status.success());
        !filters.stdout.is_empty()
    };
    Ok((tables.contains("socklb"), is_attached))
}

fn expect_from_outside(scene: &Scene<'_>, service: &Service, is_served: bool) -> Result<()> {
    let wanted = if is_served { Answered } else { Refused };
    for family in FAMILIES {
        let to = service.at(Kind::NodePort, family, scene.outside.node_address(family));
        for protocol in PROTOCOLS {
            expect(scene.outside.machine(), to, protocol, wanted)?;
        }
    }
    Ok(())
}

#[test]
fn the_packet_path_ends_with_its_flag_or_with_unload() {
    sandboxed(|sandbox| {
        let mut scene = Scene::without_cluster_cidr(sandbox)?;
        let pods = scene.pods(1)?;
        let service = Service::new("web", 10);
        scene.write(&service, &[(&pods[0], "node-a")])?;
        let on = scene.agent.clone();
        let off = Agent::on_cgroup(
            env!("CARGO_BIN_EXE_lb-agent"),
            sandbox,
            scene.manifests.folder(),
            scene.node.cgroup(),
        );
        let client = scene.node.pod("client")?;
        let expect_socket = |wanted| {
            let to = service.at(Kind::ClusterIp, FAMILIES[0], client.ipv4().into());
            expect(&client, to, Protocol::Tcp, wanted)
        };
        // It outlives the agent.
        let mut running = on.start()?;
        expect_from_outside(&scene, &service, true)?;
        running.kill()?;
        ensure!(is_left(&scene)? == (true, true));
        expect_from_outside(&scene, &service, true)?;

        let mut running = off.start()?;
        running.wait_for_event("packet_path.removed")?;
        ensure!(is_left(&scene)? == (false, false));
        expect_from_outside(&scene, &service, false)?;
        expect_socket(Answered)?;
        running.terminate()?;
        // The second agent without it has nothing to remove.
        let mut running = off.start()?;
        ensure!(!running.log().has("packet_path.removed"));
        running.terminate()?;

        let mut running = on.start()?;
        expect_from_outside(&scene, &service, true)?;
        running.terminate()?;
        unload(&on).context("unload")?;
        ensure!(is_left(&scene)? == (false, false));
        expect_from_outside(&scene, &service, false)?;
        // Nothing of it is left to unload.
        unload(&on)?;
        Ok(())
    });
}
