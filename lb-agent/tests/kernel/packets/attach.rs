//! A device that the program cannot be attached to, as long as something is in the way.

use std::io;
use std::os::fd::OwnedFd;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use lb_agent::serve::PacketPathStatus;
use lb_testbed::{Deadline, sandboxed};

use super::earlier::{NEXT, attach_first, has_tcx};
use super::outcome::Outcome::{Answered, Refused};
use super::outcome::expect;
use super::scene::{FAMILIES, Kind, PROTOCOLS, Protocol, SERVICE_NETWORKS, Scene, Service};
use super::stage::SECOND;
use crate::support::status;

/// The priority of the agent's filter of clsact. All filters of one priority are of one kind.
const PRIORITY: &str = "49584";

/// Keeps the program away from a device.
enum Obstacle {
    Programs(Vec<OwnedFd>),
    Filter(String),
}

impl Obstacle {
    fn put(device: &str) -> Result<Self> {
        if has_tcx()? {
            return Ok(Self::Programs(fill(device)?));
        }
        tc(&["qdisc", "add", "dev", device, "clsact"])?;
        tc(&[
            "filter", "add", "dev", device, "ingress", "pref", PRIORITY, "protocol", "all", "u32",
            "match", "u32", "0", "0",
        ])?;
        Ok(Self::Filter(device.to_owned()))
    }

    fn remove(self) -> Result<()> {
        match self {
            Self::Programs(programs) => drop(programs),
            Self::Filter(device) => {
                tc(&["filter", "del", "dev", &device, "ingress", "pref", PRIORITY])?;
            }
        }
        Ok(())
    }
}

/// Attaches as many programs to a device as the kernel allows (BPF_MPROG_MAX of linux/bpf_mprog.h).
fn fill(device: &str) -> Result<Vec<OwnedFd>> {
    let mut programs = Vec::new();
    loop {
        match attach_first(NEXT, device) {
            Ok(program) => programs.push(program),
            Err(error) => {
                let cause = error.downcast_ref::<io::Error>();
                let is_full = cause.and_then(io::Error::raw_os_error) == Some(libc::ERANGE);
                ensure!(is_full && !programs.is_empty(), error);
                return Ok(programs);
            }
        }
    }
}

fn tc(arguments: &[&str]) -> Result<()> {
    let status = Command::new("tc").args(arguments).status()?;
    ensure!(status.success(), "tc {arguments:?}: {status}");
    Ok(())
}

fn packet_path(scene: &Scene<'_>) -> Result<PacketPathStatus> {
    let path = status(&scene.agent)?.packet_path;
    path.context("the packet path is off")
}

#[test]
fn a_device_that_the_program_cannot_be_attached_to_is_tried_again() {
    sandboxed(|sandbox| {
        let mut scene = Scene::new(sandbox)?;
        let pods = scene.pods(1)?;
        let service = Service::new("web", 10);
        scene.write(&service, &[(&pods[0], "node-a")])?;
        let blocked = scene.node.outside("blocked")?;
        blocked.route_via_node(SERVICE_NETWORKS)?;
        let device = blocked.device();
        let obstacle = Obstacle::put(&device)?;
        let mut running = scene.start()?;
        let failed = running.wait_for_event("packet_path.failed")?;
        ensure!(failed.text("error").contains(&device), "{failed}");

        // Other devices are served meanwhile, and the error stays while it holds.
        let ask = |protocols: &[Protocol], outcome_there| {
            for family in FAMILIES {
                for &protocol in protocols {
                    for (machine, wanted) in [(&scene.outside, Answered), (&blocked, outcome_there)]
                    {
                        let node = machine.node_address(family);
                        let to = service.at(Kind::NodePort, family, node);
                        expect(machine.machine(), to, protocol, wanted)?;
                    }
                }
            }
            anyhow::Ok(())
        };
        let longer_than_a_check = Deadline::within(3 * SECOND);
        ask(&PROTOCOLS, Refused)?;
        while !longer_than_a_check.is_over() {
            // Each datagram leaves an untranslated flow in conntrack for a while, and a later one may get its port again.
            ask(&[Protocol::Tcp], Refused)?;
            let path = packet_path(&scene)?;
            ensure!(path.trouble == [failed.text("error")], "{:?}", path.trouble);
            ensure!(!path.devices.contains(&device), "{:?}", path.devices);
        }

        obstacle.remove()?;
        let soon = Deadline::within(2 * SECOND);
        while !packet_path(&scene)?.devices.contains(&device) {
            ensure!(!soon.is_over(), "not within {soon}; {}", running.log());
        }
        ask(&PROTOCOLS, Answered)?;
        let trouble = packet_path(&scene)?.trouble;
        ensure!(trouble.is_empty(), "{trouble:?}");
        let log = running.log();
        ensure!(log.count("packet_path.failed") == 1, "{log}");
        let over: Vec<&str> = log
            .events("packet_path.recovered")
            .map(|event| event.text("error"))
            .collect();
        ensure!(over == [failed.text("error")], "{log}");
        Ok(())
    });
}
