//! Whatever another program removes or changes of the packet path is back within a second, and packets are balanced again.

use std::fs;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use lb_testbed::{AgentProcess, Deadline, Event, sandboxed, stretched};
use nix::net::if_::if_nametoindex;

use super::earlier::has_tcx;
use super::outcome::Outcome::{self, Answered, Refused};
use super::outcome::{expect, outcome};
use super::scene::{FAMILIES, Kind, PROTOCOLS, Scene, Service, ask_until_all};
use crate::foreign::detach_pinned;
use crate::netfilter::nft;
use crate::support::status;

/// Rules and elements are compared when the kernel reports a change, the devices once a second: with that they have a second.
const SECOND: Duration = Duration::from_secs(1);

/// Elements of the NAT maps in a [`Stage`]: two pods, two protocols, for each family.
const ELEMENTS: usize = 4;

/// A running agent, a Service with two endpoints, and one without.
struct Stage<'s> {
    scene: Scene<'s>,
    running: AgentProcess,
    web: Service,
    empty: Service,
}

impl<'s> Stage<'s> {
    fn start(mut scene: Scene<'s>) -> Result<Self> {
        let pods = scene.pods(2)?;
        let [web, empty] = [Service::new("web", 10), Service::new("empty", 20)];
        scene.write(&web, &[(&pods[0], "node-a"), (&pods[1], "node-a")])?;
        scene.write(&empty, &[])?;
        let running = scene.start()?;
        let stage = Self {
            scene,
            running,
            web,
            empty,
        };
        stage.check_packets()?;
        Ok(stage)
    }

    /// Both endpoints answer, they see the node, and who has none refuses.
    fn check_packets(&self) -> Result<()> {
        let client = self.scene.outside.machine();
        for family in FAMILIES {
            let node = self.scene.outside.node_address(family);
            for protocol in PROTOCOLS {
                let to = self.web.at(Kind::NodePort, family, node);
                let seen = ask_until_all(client, to, protocol, &["pod-0", "pod-1"])?;
                ensure!(
                    seen.is_subset(&self.scene.node_addresses(family)),
                    "{seen:?}"
                );
                let to = self.empty.at(Kind::NodePort, family, node);
                expect(client, to, protocol, Refused)?;
            }
        }
        Ok(())
    }

    /// Does the damage, and waits for one more of these events than before, within `limit`. Then packets are balanced again.
    fn damage(
        &self,
        what: &str,
        event: &str,
        limit: Duration,
        damage: impl FnOnce() -> Result<()>,
    ) -> Result<Event> {
        let before = self.running.log().count(event);
        damage().context(what.to_owned())?;
        let deadline = Deadline::within(limit);
        let restored = loop {
            let log = self.running.log();
            if let Some(event) = log.events(event).nth(before) {
                break event.clone();
            }
            if deadline.is_over() {
                bail!("{what}: no {event} within {deadline}; the agent's log:\n{log}");
            }
            thread::sleep(Duration::from_millis(2));
        };
        self.check_packets().context(what.to_owned())?;
        ensure!(restored.level() == "WARN", "{restored}");
        Ok(restored)
    }

    /// Runs nft; the parts of the table that are then repaired must be these.
    fn damage_rules(&self, lines: &str, parts: &str) -> Result<()> {
        let repaired = self.damage(lines, "packet_path.ruleset_repaired", SECOND, || {
            nft(lines).map(drop)
        })?;
        ensure!(repaired["parts"] == parts, "{repaired} after: {lines}");
        Ok(())
    }

    /// Runs nft; this many elements of the maps are then repaired.
    fn damage_elements(&self, lines: &str, count: usize) -> Result<()> {
        let repaired = self.damage(lines, "packet_path.elements_repaired", SECOND, || {
            nft(lines).map(drop)
        })?;
        ensure!(repaired["count"] == count, "{repaired} after: {lines}");
        Ok(())
    }

    fn repairs(&self, what: &str) -> Result<u64> {
        let repairs = status(&self.scene.agent)?.drift.repairs;
        Ok(repairs.get(what).copied().unwrap_or_default())
    }
}

/// The handle of a rule, which nft shows behind it.
fn handle(rule: &str) -> Result<String> {
    let listed = Command::new("nft")
        .args(["-a", "list", "table", "inet", "socklb"])
        .output()?;
    let listed = String::from_utf8(listed.stdout)?;
    let line = listed.lines().find(|line| line.contains(rule));
    let line = line.with_context(|| format!("no rule has {rule}: {listed}"))?;
    let (_, handle) = line.rsplit_once("handle ").context("no handle")?;
    Ok(handle.to_owned())
}

/// The key of any element of a map.
fn key_of(map: &str) -> Result<String> {
    let listed = nft(&format!("list map inet socklb {map}"))?;
    let (_, elements) = listed
        .split_once("elements = {")
        .with_context(|| format!("no elements: {listed}"))?;
    let (key, _) = elements.split_once(" : ").context("no element")?;
    Ok(key.trim().to_owned())
}

#[test]
fn rules_that_another_program_changed_are_repaired() {
    sandboxed(|sandbox| {
        let stage = Stage::start(Scene::new(sandbox)?)?;
        stage.damage_rules("flush ruleset", "the table")?;
        stage.damage_rules("delete table inet socklb", "the table")?;
        stage.damage_rules("flush chain inet socklb nat", "chain nat")?;
        stage.damage_rules("flush chain inet socklb verdict", "chain verdict")?;
        let masquerade = handle("masquerade fully-random")?;
        stage.damage_rules(
            &format!("delete rule inet socklb masquerading handle {masquerade}"),
            "chain masquerading",
        )?;
        stage.damage_rules("insert rule inet socklb nat drop", "chain nat")?;
        stage.damage_rules(
            "add chain inet socklb clear { policy drop; }",
            "chain clear",
        )?;
        // The elements went with the table, twice.
        let lost: Vec<_> = stage
            .running
            .log()
            .events("packet_path.elements_repaired")
            .map(|event| event["count"].clone())
            .collect();
        ensure!(lost == [2 * ELEMENTS; 2], "{lost:?}");
        ensure!(stage.repairs("ruleset")? == 7);
        ensure!(stage.repairs("NAT")? == 4 * ELEMENTS as u64);
        Ok(())
    });
}

#[test]
fn elements_that_another_program_changed_are_repaired() {
    sandboxed(|sandbox| {
        let stage = Stage::start(Scene::new(sandbox)?)?;
        stage.damage_elements("flush map inet socklb backends4", ELEMENTS)?;
        stage.damage_elements(
            "flush map inet socklb backends4\nflush map inet socklb backends6",
            2 * ELEMENTS,
        )?;
        for (map, elsewhere) in [
            ("backends4", "10.244.0.250 . 9"),
            ("backends6", "fd00:244::250 . 9"),
        ] {
            let key = key_of(map)?;
            let remove = format!("delete element inet socklb {map} {{ {key} }}\n");
            stage.damage_elements(&remove, 1)?;
            let add = format!("add element inet socklb {map} {{ {key} : {elsewhere} }}\n");
            stage.damage_elements(&format!("{remove}{add}"), 1)?;
        }
        ensure!(!stage.running.log().has("packet_path.ruleset_repaired"));
        ensure!(stage.repairs("NAT")? == 3 * ELEMENTS as u64 + 4);
        Ok(())
    });
}

#[test]
fn a_program_that_was_detached_from_a_device_is_attached_again() {
    sandboxed(|sandbox| {
        let stage = Stage::start(Scene::new(sandbox)?)?;
        let device = stage.scene.outside.device();
        let index = if_nametoindex(&*device)?;
        let pin = stage
            .scene
            .agent
            .pin_dir()
            .join(format!("links/packet_{index}"));
        let tc = |arguments: &str| {
            let arguments = arguments.split(' ').chain(["dev", &device]);
            let status = Command::new("tc").args(arguments).status()?;
            ensure!(status.success(), "tc failed: {status}");
            Ok(())
        };
        type Damage<'d> = Box<dyn FnOnce() -> Result<()> + 'd>;
        let damages: Vec<(&str, Damage<'_>)> = match has_tcx()? {
            true => vec![
                ("detached", Box::new(|| detach_pinned(&pin))),
                ("without its pin", Box::new(|| Ok(fs::remove_file(&pin)?))),
                (
                    "detached, without its pin",
                    Box::new(|| {
                        detach_pinned(&pin)?;
                        Ok(fs::remove_file(&pin)?)
                    }),
                ),
            ],
            false => vec![
                ("without its filter", Box::new(|| tc("filter del ingress"))),
                ("without clsact", Box::new(|| tc("qdisc del clsact"))),
            ],
        };
        let number = damages.len() as u64;
        for (what, damage) in damages {
            let restored = stage.damage(what, "packet_path.restored", 2 * SECOND, damage)?;
            ensure!(restored["devices"] == *device, "{what}: {restored}");
            ensure!(pin.exists() == has_tcx()?, "{what}: no pin");
        }
        ensure!(stage.repairs("devices")? == number);
        Ok(())
    });
}

#[test]
fn damage_done_while_no_agent_runs_is_repaired_by_the_next() {
    sandboxed(|sandbox| {
        let mut stage = Stage::start(Scene::new(sandbox)?)?;
        stage.running.terminate()?;
        stage.check_packets()?;
        for lines in ["flush ruleset", "flush map inet socklb backends6"] {
            nft(lines)?;
            stage.running = stage.scene.start()?;
            stage.check_packets().context(lines)?;
            stage.running.kill()?;
            stage.check_packets()?;
        }
        Ok(())
    });
}

#[test]
fn idle_connections_outlive_a_flush_of_all_rules() {
    sandboxed(|sandbox| {
        let stage = Stage::start(Scene::new(sandbox)?)?;
        let mut flows = Vec::new();
        for family in FAMILIES {
            let to = stage.web.at(
                Kind::NodePort,
                family,
                stage.scene.outside.node_address(family),
            );
            for protocol in PROTOCOLS {
                let client = stage.scene.outside.machine();
                flows.push(super::flow::Flow::open(client, to, protocol)?.0);
            }
        }
        // Without rules, a packet of a connection is to the node itself, which resets it. A delayed acknowledgement comes within
        // 200 ms (TCP_DELACK_MAX).
        thread::sleep(stretched(SECOND));
        stage.damage_rules("flush ruleset", "the table")?;
        flows.iter_mut().try_for_each(|flow| flow.ask().map(drop))
    });
}

#[test]
fn another_programs_table_is_left_alone_and_sockets_are_served() {
    const FOREIGN: &str = "add table inet socklb\n\
         add chain inet socklb theirs { type filter hook input priority 0; }\n\
         add rule inet socklb theirs counter accept\n";
    sandboxed(|sandbox| {
        let mut scene = Scene::new(sandbox)?;
        let pods = scene.pods(1)?;
        let service = Service::new("web", 10);
        scene.write(&service, &[(&pods[0], "node-a")])?;
        nft(FOREIGN)?;
        let before = nft("list table inet socklb")?;
        let mut running = scene.start()?;
        let failed = running.wait_for_event("packet_path.failed")?;
        ensure!(failed.level() == "ERROR");
        ensure!(failed.text("error").contains("theirs"), "{failed}");
        let client = scene.node.pod("client")?;
        for family in FAMILIES {
            for protocol in PROTOCOLS {
                let node = scene.outside.node_address(family);
                let to = service.at(Kind::ClusterIp, family, node);
                expect(&client, to, protocol, Answered)?;
                let to = lb_testbed::Question::to(service.at(Kind::NodePort, family, node));
                let became: Outcome = outcome(scene.outside.machine(), to, protocol)?;
                ensure!(became == Refused, "{became:?}");
            }
        }
        let after = nft("list table inet socklb")?;
        let shape = |text: &str| {
            let words = text.split_whitespace().map(str::to_owned);
            // The counter counts.
            words
                .filter(|word| word.parse::<u64>().is_err())
                .collect::<Vec<_>>()
        };
        ensure!(shape(&after) == shape(&before), "{after}");
        let trouble = status(&scene.agent)?
            .packet_path
            .context("it is on")?
            .trouble;
        ensure!(trouble == [failed.text("error")], "{trouble:?}");
        ensure!(running.log().warnings() == ["packet_path.failed"]);
        Ok(())
    });
}
