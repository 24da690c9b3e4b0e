//! Whatever another program removes or changes of the packet path is back within a second, and packets are balanced again.

use std::fs;
use std::process::Command;
use std::thread;

use anyhow::{Context as _, Result, ensure};
use lb_testbed::{Deadline, sandboxed, stretched};
use nix::net::if_::if_nametoindex;

use super::earlier::has_tcx;
use super::flow::Flow;
use super::scene::{FAMILIES, Kind, PROTOCOLS, Scene, Service, ask_until_all};
use super::stage::{ELEMENTS, SECOND, Stage};
use crate::foreign::detach_pinned;
use crate::netfilter::nft;

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
        // One with an id that no backend has.
        let add = "add element inet socklb backends4 { 8000:55 : 10.244.0.250 . 9 }";
        stage.damage_elements(add, 1)?;
        let left = nft("list map inet socklb backends4")?;
        ensure!(!left.contains("10.244.0.250"), "{left}");
        ensure!(!stage.running.log().has("packet_path.ruleset_repaired"));
        ensure!(stage.repairs("NAT")? == 3 * ELEMENTS as u64 + 5);
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
        let tc = |[object, place]: [&str; 2]| {
            let arguments = [object, "del", "dev", &*device, place];
            let status = Command::new("tc").args(arguments).status()?;
            ensure!(status.success(), "tc {arguments:?}: {status}");
            Ok(())
        };
        type Damage<'d> = Box<dyn FnOnce() -> Result<()> + 'd>;
        let damages: Vec<(&str, &str, Damage<'_>)> = match has_tcx()? {
            true => vec![
                ("detached", "detached", Box::new(|| detach_pinned(&pin))),
                (
                    "without its pin",
                    "not pinned",
                    Box::new(|| Ok(fs::remove_file(&pin)?)),
                ),
                (
                    "detached, without its pin",
                    "detached",
                    Box::new(|| {
                        detach_pinned(&pin)?;
                        Ok(fs::remove_file(&pin)?)
                    }),
                ),
            ],
            false => vec![
                (
                    "without its filter",
                    "filter removed",
                    Box::new(|| tc(["filter", "ingress"])),
                ),
                (
                    "without clsact",
                    "filter removed",
                    Box::new(|| tc(["qdisc", "clsact"])),
                ),
            ],
        };
        let number = damages.len() as u64;
        for (what, cause, damage) in damages {
            let restored = stage.damage(what, "packet_path.restored", 2 * SECOND, damage)?;
            ensure!(
                restored["device"] == *device && restored["cause"] == cause,
                "{what}: {restored}"
            );
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
fn changes_while_rules_are_removed_are_in_effect_afterwards() {
    sandboxed(|sandbox| {
        let mut scene = Scene::new(sandbox)?;
        let pods = scene.pods(6)?;
        let service = Service::new("moving", 30);
        let endpoints = |first: usize| {
            let pods = pods.iter().cycle().skip(first).take(2);
            pods.map(|pod| (pod, "node-a")).collect::<Vec<_>>()
        };
        scene.write(&service, &endpoints(0))?;
        let running = scene.start()?;
        let damages = [
            "flush ruleset",
            "flush map inet socklb backends4",
            "delete table inet socklb",
            "flush chain inet socklb nat",
        ];
        for (round, lines) in damages.iter().cycle().take(16).enumerate() {
            scene.write(&service, &endpoints(round))?;
            // At any moment of the change, also of an earlier repair, when the table may be missing.
            let _ = nft(lines);
        }
        scene.write(&service, &endpoints(16))?;
        scene.wait_for_backends(&service, &endpoints(16))?;
        let names: Vec<&str> = endpoints(16).iter().map(|(pod, _)| pod.name()).collect();
        let answer_all = || {
            for family in FAMILIES {
                let node = scene.outside.node_address(family);
                let to = service.at(Kind::NodePort, family, node);
                for protocol in PROTOCOLS {
                    ask_until_all(scene.outside.machine(), to, protocol, &names)?;
                }
            }
            anyhow::Ok(())
        };
        let deadline = Deadline::within(2 * SECOND);
        while let Err(error) = answer_all() {
            ensure!(
                !deadline.is_over(),
                "{error:#} after {deadline}; {}",
                running.log()
            );
        }
        answer_all()
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
                flows.push(Flow::open(client, to, protocol)?.0);
            }
        }
        // Without rules, a packet of a connection is to the node itself, which resets it. A delayed acknowledgement comes within
        // 200 ms (TCP_DELACK_MAX).
        thread::sleep(stretched(SECOND));
        stage.damage_rules("flush ruleset", "the table")?;
        flows.iter_mut().try_for_each(|flow| flow.ask().map(drop))
    });
}
