//! Another program at tcx that runs before ours, with a verdict of its own.

use std::os::fd::{AsRawFd as _, OwnedFd};

use anyhow::{Context as _, Result, ensure};
use aya_obj::generated::{bpf_attach_type, bpf_attr, bpf_cmd, bpf_prog_type};
use lb_testbed::{AgentProcess, sandboxed};
use nix::net::if_::if_nametoindex;

use super::outcome::{Outcome, expect};
use super::scene::{FAMILIES, Kind, PROTOCOLS, Scene, Service};
use crate::foreign::{bpf, number, owned, zeroed};

/// BPF_F_BEFORE of linux/bpf.h; without another program named, before all.
const BEFORE: u32 = 1 << 3;

/// TCX_NEXT and TCX_PASS of linux/bpf.h: the next program decides; the packet goes on without it.
pub const NEXT: i32 = -1;
const PASS: i32 = 0;

/// A program that always returns this.
fn program(verdict: i32) -> Result<OwnedFd> {
    let code = [
        0xb7 | u64::from(verdict.cast_unsigned()) << 32,
        // exit
        0x95,
    ];
    let mut attr = zeroed();
    // SAFETY: the fields for loading.
    let fields = unsafe { &mut attr.__bindgen_anon_3 };
    fields.prog_type = bpf_prog_type::BPF_PROG_TYPE_SCHED_CLS as u32;
    fields.insn_cnt = u32::try_from(code.len())?;
    fields.insns = code.as_ptr() as u64;
    fields.license = c"GPL".as_ptr() as u64;
    owned(bpf(bpf_cmd::BPF_PROG_LOAD, &mut attr)?)
}

/// Attaches such a program to the ingress of a device, before all others, until the link is dropped.
pub fn attach_first(verdict: i32, device: &str) -> Result<OwnedFd> {
    let program = program(verdict).context("cannot load a classifier")?;
    let mut attr: bpf_attr = zeroed();
    attr.link_create.__bindgen_anon_1.prog_fd = number(program.as_raw_fd())?;
    attr.link_create.__bindgen_anon_2.target_ifindex = if_nametoindex(device)?;
    attr.link_create.attach_type = bpf_attach_type::BPF_TCX_INGRESS as u32;
    attr.link_create.flags = BEFORE;
    owned(bpf(bpf_cmd::BPF_LINK_CREATE, &mut attr).context("cannot attach to tcx")?)
}

/// Whether the kernel has tcx, which came with Linux 6.6.
pub fn has_tcx() -> Result<bool> {
    let name = nix::sys::utsname::uname()?;
    let release = name.release().to_string_lossy().into_owned();
    let mut numbers = release
        .split(['.', '-'])
        .map_while(|word| word.parse().ok());
    let version: (u32, u32) = (
        numbers.next().context("no version")?,
        numbers.next().context("no version")?,
    );
    Ok(version >= (6, 6))
}

fn expect_from_outside(scene: &Scene<'_>, service: &Service, wanted: Outcome) -> Result<()> {
    let client = scene.outside.machine();
    for family in FAMILIES {
        let to = service.at(Kind::NodePort, family, scene.outside.node_address(family));
        for protocol in PROTOCOLS {
            expect(client, to, protocol, wanted)?;
        }
    }
    Ok(())
}

fn wait_for_event(running: &mut AgentProcess, device: &str, count: usize) -> Result<()> {
    running
        .wait_for_event_with("packet_path.behind", |event| {
            event["device"] == device && event["count"] == count
        })
        .map(drop)
}

#[test]
fn a_program_that_decides_before_ours_is_reported() {
    sandboxed(|sandbox| {
        if !has_tcx()? {
            println!("NOT checked: this kernel has no tcx; programs of clsact run by priority");
            return Ok(());
        }
        let mut scene = Scene::new(sandbox)?;
        let pods = scene.pods(1)?;
        let service = Service::new("web", 10);
        scene.write(&service, &[(&pods[0], "node-a")])?;
        let device = scene.outside.device();
        let deciding = attach_first(PASS, &device)?;
        let mut running = scene.start()?;
        wait_for_event(&mut running, &device, 1)?;
        // The node itself answers, where no socket listens.
        expect_from_outside(&scene, &service, Outcome::Refused)?;
        let client = scene.node.pod("client")?;
        let to = service.at(Kind::ClusterIp, FAMILIES[0], client.ipv4().into());
        expect(&client, to, PROTOCOLS[0], Outcome::Answered)?;

        // One that leaves the decision to others does no harm.
        let _passing = attach_first(NEXT, &device)?;
        wait_for_event(&mut running, &device, 2)?;
        drop(deciding);
        expect_from_outside(&scene, &service, Outcome::Answered)?;
        ensure!(running.log().warnings() == ["packet_path.behind"; 2]);
        Ok(())
    });
}
