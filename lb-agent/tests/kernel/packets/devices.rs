//! Devices that come, go, and change while the agent runs, and many of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::DirEntryExt as _;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use lb_testbed::{AgentProcess, Link, sandboxed};

use super::earlier::has_tcx;
use super::outcome::Outcome::{Answered, Refused};
use super::outcome::{expect, wait_for};
use super::scene::{FAMILIES, Kind, PROTOCOLS, SERVICE_NETWORKS, Scene, Service};
use crate::support::{eventually, status};

/// The devices that the agent says to balance, in order.
fn devices(scene: &Scene<'_>) -> Result<BTreeSet<String>> {
    let path = status(&scene.agent)?.packet_path;
    let path = path.context("the packet path is off")?;
    ensure!(path.trouble.is_empty(), "{:?}", path.trouble);
    Ok(path.devices.into_iter().collect())
}

fn wait_for_device(scene: &Scene<'_>, device: &str, is_there: bool) -> Result<()> {
    eventually(&format!("{device}: {is_there}"), || {
        Ok(devices(scene)?.contains(device) == is_there)
    })
}

/// The links in the pin folder, each with the inode of its pin; none on kernels whose filters need none.
pub fn links(scene: &Scene<'_>) -> Result<BTreeMap<String, u64>> {
    let mut links = BTreeMap::new();
    for entry in fs::read_dir(scene.agent.pin_dir().join("links"))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("packet_") {
            links.insert(name, entry.ino());
        }
    }
    Ok(links)
}

/// Asks from the first machine outside, once the agent knows the node's addresses there.
fn ask_all(scene: &Scene<'_>, service: &Service) -> Result<()> {
    let client = scene.outside.machine();
    for family in FAMILIES {
        let to = service.at(Kind::NodePort, family, scene.outside.node_address(family));
        for protocol in PROTOCOLS {
            wait_for(client, to, protocol, Answered)?;
        }
    }
    for kind in Kind::ALL {
        for family in FAMILIES {
            let to = service.at(kind, family, scene.outside.node_address(family));
            for protocol in PROTOCOLS {
                expect(client, to, protocol, Answered)?;
            }
        }
    }
    Ok(())
}

/// Commands that give a device the node's addresses of the first machine's link.
fn addresses(scene: &Scene<'_>, device: &str) -> String {
    let [ipv4, ipv6] = FAMILIES.map(|family| scene.outside.node_address(family));
    format!(
        "addr replace {ipv4}/28 dev {device}\n\
         addr replace {ipv6}/64 dev {device} nodad\n"
    )
}

fn with_one_pod<'s>(scene: &mut Scene<'s>) -> Result<Service> {
    let pods = scene.pods(1)?;
    let service = Service::new("web", 10);
    scene.write(&service, &[(&pods[0], "node-a")])?;
    Ok(service)
}

#[test]
fn devices_come_go_and_are_renamed() {
    sandboxed(|sandbox| {
        let mut scene = Scene::new(sandbox)?;
        let service = with_one_pod(&mut scene)?;
        let running = scene.start()?;
        ask_all(&scene, &service)?;

        let before = links(&scene)?;
        let second = scene.node.outside("second")?;
        wait_for_device(&scene, "outside1", true)?;
        second.route_via_node(SERVICE_NETWORKS)?;
        for family in FAMILIES {
            let to = service.at(Kind::NodePort, family, second.node_address(family));
            for protocol in PROTOCOLS {
                // The agent learns of addresses apart from devices.
                wait_for(second.machine(), to, protocol, Answered)?;
            }
        }
        ensure!(links(&scene)?.len() == before.len() + usize::from(has_tcx()?));
        scene.node.namespace().ip("link del outside1\n")?;
        wait_for_device(&scene, "outside1", false)?;
        ensure!(links(&scene)? == before);

        // Most kernels rename only devices that are down, and those lose their IPv6 addresses.
        scene.node.namespace().ip(&format!(
            "link set outside0 down\n\
             link set outside0 name wan0\n\
             {}\
             link set wan0 up\n",
            addresses(&scene, "wan0")
        ))?;
        wait_for_device(&scene, "wan0", true)?;
        ensure!(!devices(&scene)?.contains("outside0"));
        ask_all(&scene, &service)?;
        let log = running.log();
        ensure!(log.warnings().is_empty(), "{log}");
        Ok(())
    });
}

#[test]
fn a_device_may_join_a_bridge_or_bond_and_leave_it() {
    sandboxed(|sandbox| {
        let mut scene = Scene::new(sandbox)?;
        let service = with_one_pod(&mut scene)?;
        let running = scene.start()?;
        let mut masters = vec![("br0", "type bridge mcast_snooping 0")];
        match Link::Bond.is_supported()? {
            true => masters.push(("bond0", "type bond mode active-backup miimon 10")),
            false => println!("NOT checked: this kernel has no bonds"),
        }
        for (master, kind) in masters {
            scene.node.namespace().ip(&format!(
                "link add {master} {kind}\n\
                 addr flush dev outside0\n\
                 link set outside0 down\n\
                 link set outside0 master {master}\n\
                 link set outside0 up\n\
                 {}\
                 link set {master} up\n",
                addresses(&scene, master)
            ))?;
            wait_for_device(&scene, master, true)?;
            ask_all(&scene, &service).context(master)?;
            scene.node.namespace().ip(&format!(
                "addr flush dev {master}\n\
                 link set outside0 nomaster\n\
                 link del {master}\n\
                 link set outside0 down\n\
                 {}\
                 link set outside0 up\n",
                addresses(&scene, "outside0")
            ))?;
            wait_for_device(&scene, master, false)?;
            ask_all(&scene, &service).with_context(|| format!("without {master}"))?;
        }
        let log = running.log();
        ensure!(log.warnings().is_empty(), "{log}");
        Ok(())
    });
}

#[test]
fn only_the_devices_of_the_flag_are_balanced() {
    sandboxed(|sandbox| {
        let mut scene = Scene::new(sandbox)?;
        let service = with_one_pod(&mut scene)?;
        let vm = scene.node.pod_without_hooks("vm")?;
        let all = scene.agent.clone();
        let expect_of = |scene: &Scene<'_>, kind, from_outside, from_pod| {
            for family in FAMILIES {
                let to = service.at(kind, family, scene.outside.node_address(family));
                for protocol in PROTOCOLS {
                    expect(scene.outside.machine(), to, protocol, from_outside)?;
                    expect(&vm, to, protocol, from_pod)?;
                }
            }
            anyhow::Ok(())
        };
        scene.agent = all.clone().arg("--packet-devices=outside*,absent0");
        let mut running = scene.start()?;
        ensure!(devices(&scene)? == ["outside0".to_owned()].into());
        expect_of(&scene, Kind::NodePort, Answered, Refused)?;
        let _second = scene.node.outside("second")?;
        wait_for_device(&scene, "outside1", true)?;
        let _node = scene.node.remote_node("node-c")?;
        scene
            .node
            .namespace()
            .ip("link add absent0 type veth peer name other0\n")?;
        wait_for_device(&scene, "absent0", true)?;
        ensure!(devices(&scene)?.len() == 3);

        // The next agent takes the program off the devices that it does not use.
        running.terminate()?;
        scene.agent = all.clone().arg("--packet-devices=pod*");
        running = scene.start()?;
        ensure!(
            devices(&scene)?
                .iter()
                .all(|device| device.starts_with("pod"))
        );
        expect_of(&scene, Kind::NodePort, Refused, Answered)?;
        running.terminate()?;
        scene.agent = all;
        running = scene.start()?;
        ensure!(!devices(&scene)?.contains("lo"));
        expect_of(&scene, Kind::NodePort, Answered, Answered)?;
        ensure!(running.log().warnings().is_empty());
        Ok(())
    });
}

/// The line of /proc/PID/status.
fn anonymous_memory(agent: &AgentProcess) -> Result<String> {
    let text = fs::read_to_string(format!("/proc/{}/status", agent.id()))?;
    let line = text.lines().find(|line| line.starts_with("RssAnon:"));
    Ok(line.context("no RssAnon")?.to_owned())
}

#[test]
fn a_thousand_devices_are_balanced() {
    const PAIRS: usize = 500;
    // The kernel takes long for each.
    const REMOVED: usize = 10;
    sandboxed(|sandbox| {
        let mut scene = Scene::new(sandbox)?;
        let service = with_one_pod(&mut scene)?;
        let mut lines = String::new();
        for pair in 0..PAIRS {
            writeln!(lines, "link add left{pair} type veth peer name right{pair}")?;
        }
        scene.node.namespace().ip(&lines)?;
        let began = Instant::now();
        let mut running = scene.start()?;
        let first = began.elapsed();
        let attached = devices(&scene)?.len();
        ensure!(attached >= 2 * PAIRS, "{attached}");
        let event = running.wait_for_event("packet_path.attached")?;
        ensure!(event["count"] == attached, "{event}");
        let pinned = if has_tcx()? { attached } else { 0 };
        let pins = links(&scene)?;
        ensure!(pins.len() == pinned);
        ask_all(&scene, &service)?;

        running.kill()?;
        let began = Instant::now();
        running = scene.start()?;
        println!(
            "{attached} devices: ready after {first:?}, the next agent after {:?}; {}",
            began.elapsed(),
            anonymous_memory(&running)?
        );
        ensure!(devices(&scene)?.len() == attached);
        ensure!(links(&scene)? == pins);
        ask_all(&scene, &service)?;

        let lines: String = (0..REMOVED)
            .map(|pair| format!("link del left{pair}\n"))
            .collect();
        scene.node.namespace().ip(&lines)?;
        eventually("the devices are gone", || {
            Ok(devices(&scene)?.len() == attached - 2 * REMOVED)
        })?;
        ensure!(links(&scene)?.len() == pinned.saturating_sub(2 * REMOVED));
        ask_all(&scene, &service)?;
        ensure!(running.log().warnings().is_empty());
        Ok(())
    });
}
