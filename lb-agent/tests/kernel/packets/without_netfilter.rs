//! Netfilter that the agent cannot use: one clear error, sockets are served, and load balancers are told to use other nodes.

use std::io::Write as _;
use std::process::{Child, Command, Stdio};
use std::thread;

use anyhow::{Context as _, Result, ensure};
use lb_testbed::{Agent, AgentProcess, Deadline, Event, Pod, Sandbox, sandboxed};
use serde_json::json;

use super::duties::get;
use super::outcome::Outcome::{Answered, Refused};
use super::outcome::{Outcome, expect};
use super::scene::{FAMILIES, Kind, PROTOCOLS, Scene, Service};
use super::stage::SECOND;
use crate::netfilter::nft;
use crate::support::{eventually, status};

/// NETLINK_NETFILTER of linux/netlink.h.
const NETFILTER: i32 = 12;

/// Another program's table of our name.
const FOREIGN: &str = "add table inet socklb\n\
     add chain inet socklb theirs { type filter hook input priority 0; }\n\
     add rule inet socklb theirs counter accept\n";

/// Ports that load balancers ask.
const HEALTHZ: u16 = 10_256;
const HEALTH_CHECK: u16 = 31_020;

/// A Service with one endpoint on this node, which a load balancer may ask about, and a pod that asks the Service.
struct Stage<'s> {
    scene: Scene<'s>,
    service: Service,
    client: Pod,
}

impl<'s> Stage<'s> {
    fn new(sandbox: &'s Sandbox) -> Result<Self> {
        let mut scene = Scene::new(sandbox)?;
        scene.agent = scene
            .agent
            .arg(format!("--healthz=0.0.0.0:{HEALTHZ}"))
            .arg("--check-interval=1s");
        let pods = scene.pods(1)?;
        let service = Service::new("web", 10)
            .with("externalTrafficPolicy", json!("Local"))
            .with("healthCheckNodePort", json!(HEALTH_CHECK));
        scene.write(&service, &[(&pods[0], "node-a")])?;
        Ok(Self {
            client: scene.node.pod("client")?,
            scene,
            service,
        })
    }

    /// Sockets reach the Service; clients outside get this.
    fn check(&self, outside: Outcome) -> Result<()> {
        for family in FAMILIES {
            let node = self.scene.outside.node_address(family);
            for protocol in PROTOCOLS {
                let to = self.service.at(Kind::ClusterIp, family, node);
                expect(&self.client, to, protocol, Answered)?;
                let to = self.service.at(Kind::NodePort, family, node);
                expect(self.scene.outside.machine(), to, protocol, outside)?;
            }
        }
        Ok(())
    }

    /// The status codes of both health checks.
    fn health(&self) -> Result<[u16; 2]> {
        let node = self.scene.outside.node_address(FAMILIES[0]);
        let ask = |port, path| get(self.scene.outside.machine(), (node, port).into(), path);
        Ok([ask(HEALTHZ, "/healthz")?.0, ask(HEALTH_CHECK, "/")?.0])
    }

    fn trouble(&self) -> Result<Vec<String>> {
        let path = status(&self.scene.agent)?.packet_path;
        Ok(path.context("the packet path is off")?.trouble)
    }

    /// The agent reports one error, and goes on reporting it in its status.
    fn check_error(&self, running: &mut AgentProcess) -> Result<Event> {
        let failed = running.wait_for_event("packet_path.failed")?;
        ensure!(failed.level() == "ERROR", "{failed}");
        self.check(Refused)?;
        eventually("the node is not to be used", || {
            Ok(self.health()? == [503; 2])
        })?;
        // Longer than the pause between two checks.
        let later = Deadline::within(2 * SECOND);
        while !later.is_over() {
            let trouble = self.trouble()?;
            ensure!(trouble == [failed.text("error")], "{trouble:?}");
            thread::sleep(SECOND / 20);
        }
        let log = running.log();
        ensure!(log.warnings() == ["packet_path.failed"], "{log}");
        Ok(failed)
    }

    /// The error is over, and clients outside get the Service.
    fn check_recovery(&self, running: &mut AgentProcess, failed: &Event) -> Result<()> {
        let over = running.wait_for_event("packet_path.recovered")?;
        ensure!(over.text("error") == failed.text("error"), "{over}");
        eventually("the node may be used", || Ok(self.health()? == [200; 2]))?;
        self.check(Answered)?;
        ensure!(self.trouble()?.is_empty());
        Ok(())
    }
}

#[test]
fn without_nf_tables_sockets_are_served() {
    sandboxed(|sandbox| {
        let mut stage = Stage::new(sandbox)?;
        stage.scene.agent = stage.scene.agent.without_netlink(NETFILTER)?;
        let mut running = stage.scene.start()?;
        let failed = stage.check_error(&mut running)?;
        let error = failed.text("error");
        ensure!(error.contains("module nf_tables"), "{failed}");
        ensure!(error.contains("Protocol not supported"), "{failed}");

        // Without the packet path it is no error.
        running.terminate()?;
        let off = Agent::on_cgroup(
            env!("CARGO_BIN_EXE_lb-agent"),
            sandbox,
            stage.scene.manifests.folder(),
            stage.scene.node.cgroup(),
        );
        stage.scene.agent = off.without_netlink(NETFILTER)?;
        let running = stage.scene.start()?;
        stage.check(Refused)?;
        ensure!(running.log().warnings().is_empty(), "{}", running.log());
        Ok(())
    });
}

#[test]
fn another_programs_table_is_left_alone_until_it_goes() {
    sandboxed(|sandbox| {
        let stage = Stage::new(sandbox)?;
        nft(FOREIGN)?;
        let before = nft("list table inet socklb")?;
        let mut running = stage.scene.start()?;
        let failed = stage.check_error(&mut running)?;
        ensure!(failed.text("error").contains("theirs"), "{failed}");
        let after = nft("list table inet socklb")?;
        let shape = |text: &str| {
            let words = text.split_whitespace().map(str::to_owned);
            // The counter counts.
            words
                .filter(|word| word.parse::<u64>().is_err())
                .collect::<Vec<_>>()
        };
        ensure!(shape(&after) == shape(&before), "{after}");

        nft("delete table inet socklb")?;
        stage.check_recovery(&mut running, &failed)?;
        let log = running.log();
        ensure!(log.warnings() == ["packet_path.failed"], "{log}");
        // The kernel reports changes to the agent, which repairs them.
        nft("flush table inet socklb")?;
        running.wait_for_event("packet_path.ruleset_repaired")?;
        stage.check(Answered)
    });
}

/// A table that only its owner may change, for as long as this process runs.
struct Owner(Child);

impl Owner {
    fn start() -> Result<Self> {
        let mut program = Command::new("nft")
            .arg("-i")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()?;
        let input = program.stdin.as_mut();
        let input = input.context("nft has no standard input")?;
        writeln!(input, "add table inet socklb {{ flags owner; }}")?;
        let owner = Self(program);
        eventually("the table is there", || {
            Ok(nft("list tables")?.contains("inet socklb"))
        })?;
        Ok(owner)
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_table_with_an_owner_is_left_alone_until_it_goes() {
    sandboxed(|sandbox| {
        let stage = Stage::new(sandbox)?;
        let owner = Owner::start()?;
        let mut running = stage.scene.start()?;
        let failed = stage.check_error(&mut running)?;
        let port = format!("netlink port {}", owner.0.id());
        ensure!(failed.text("error").contains(&port), "{failed}");

        // Its table goes with it.
        drop(owner);
        stage.check_recovery(&mut running, &failed)
    });
}

#[test]
fn another_programs_table_in_place_of_ours_is_left_alone_until_it_goes() {
    sandboxed(|sandbox| {
        let stage = Stage::new(sandbox)?;
        let mut running = stage.scene.start()?;
        stage.check(Answered)?;
        ensure!(stage.health()? == [200; 2]);
        nft(&format!("delete table inet socklb\n{FOREIGN}"))?;
        let failed = stage.check_error(&mut running)?;
        ensure!(failed.text("error").contains("theirs"), "{failed}");

        nft("delete table inet socklb")?;
        stage.check_recovery(&mut running, &failed)
    });
}
