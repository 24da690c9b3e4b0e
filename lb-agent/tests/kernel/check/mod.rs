//! `lb-agent check`: what it finds on nodes that are fit and on others.

mod self_test;

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use lb_testbed::{Cgroup, MissingNetlink, NetworkNamespace, Sandbox, sandboxed, with_only};
use nix::libc;
use rustix::thread::CapabilitySet;
use serde_json::Value;

use crate::foreign::{self, Verdict};
use crate::support::{Web, agent, status};

/// `lb-agent check -o json`, on the sandbox's cgroup and bpffs.
fn command(sandbox: &Sandbox) -> Command {
    command_on(sandbox, sandbox.cgroup())
}

/// The same on another cgroup.
fn command_on(sandbox: &Sandbox, cgroup: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lb-agent"));
    command
        .args(["check", "-o", "json", "--cgroup"])
        .arg(cgroup)
        .arg("--pin-dir")
        .arg(sandbox.bpffs().join("socklb"))
        .arg("--socket")
        .arg(sandbox.dir().join("agent.sock"));
    command
}

/// The exit status and the findings.
struct Checked {
    status: Option<i32>,
    findings: Vec<Value>,
}

impl Checked {
    fn new(command: &mut Command) -> Result<Self> {
        let output = command.output()?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(errors.is_empty(), "{errors}");
        Ok(Self {
            status: output.status.code(),
            findings: serde_json::from_slice(&output.stdout)?,
        })
    }

    fn row(&self, check: &str) -> Result<&Value> {
        let mut of = self.findings.iter().filter(|row| row["check"] == check);
        of.next().with_context(|| format!("no row {check}"))
    }

    /// Asserts the result of a check; each that is not ok has a remedy.
    fn assert(&self, check: &str, result: &str, detail: &[&str]) -> Result<&Value> {
        let row = self.row(check)?;
        assert_eq!(row["result"], result, "{row}");
        let text = row["detail"].as_str().unwrap_or_default();
        for part in detail {
            assert!(text.contains(part), "{part:?} is not in {row}");
        }
        assert_eq!(row["remedy"].is_string(), result != "ok", "{row}");
        Ok(row)
    }
}

fn without(capabilities: CapabilitySet) -> CapabilitySet {
    CapabilitySet::all() - capabilities
}

fn nft(line: &str) -> Result<()> {
    let status = Command::new("nft").args(line.split(' ')).status()?;
    ensure!(status.success(), "nft {line}: {status}");
    Ok(())
}

#[test]
fn a_fit_node_passes_and_stays_as_it_is() {
    sandboxed(|sandbox| {
        let children = std::fs::read_dir(sandbox.cgroup())?.count();
        let checked = Checked::new(command(sandbox).args(["--packet-path", "on"]))?;
        assert_eq!(checked.status, Some(0));
        for (check, detail) in [
            ("capabilities", "CAP_BPF"),
            ("cgroup", "a part of the hierarchy"),
            ("bpf-file-system", "socklb"),
            ("kernel-types", "KiB"),
            ("tables", "ring buffer"),
            ("programs", " programs"),
            ("kernel-function", "bpf_cast_to_kern_ctx"),
            ("hooks", "no programs"),
            ("nftables", "NAT"),
            ("devices", "no other programs"),
            ("kube-proxy", "no rules"),
            ("pinned-tables", "none"),
            ("agent", "none runs"),
        ] {
            checked.assert(check, "ok", &[detail])?;
        }
        let hook = checked.row("packet-program")?;
        assert_eq!(hook["result"], "ok", "{hook}");
        // They depend on the machine.
        for check in ["memory", "conntrack", "forwarding"] {
            checked.row(check)?;
        }
        assert_eq!(checked.findings.len(), 17, "{:?}", checked.findings);
        ensure!(
            !sandbox.bpffs().join("socklb").exists(),
            "it pinned something"
        );
        assert_eq!(std::fs::read_dir(sandbox.cgroup())?.count(), children);
        let ruleset = Command::new("nft").args(["list", "ruleset"]).output()?;
        assert_eq!(String::from_utf8_lossy(&ruleset.stdout), "");
        Ok(())
    });
}

#[test]
fn a_table_has_a_remedy_below_its_row() {
    sandboxed(|sandbox| {
        let output = Command::new(env!("CARGO_BIN_EXE_lb-agent"))
            .arg("check")
            .arg("--pin-dir")
            .arg(sandbox.dir().join("pins"))
            .output()?;
        assert_eq!(output.status.code(), Some(1));
        let text = String::from_utf8(output.stdout)?;
        let head: Vec<_> = text
            .lines()
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .collect();
        assert_eq!(head, ["CHECK", "RESULT", "DETAIL"]);
        let mut lines = text
            .lines()
            .skip_while(|line| !line.starts_with("bpf-file-system"));
        let (row, remedy) = (lines.next(), lines.next());
        assert!(row.is_some_and(|row| row.contains("failure")), "{text}");
        assert!(
            remedy.is_some_and(|line| line.contains("mount -t bpf bpf")),
            "{text}"
        );
        Ok(())
    });
}

#[test]
fn without_a_cgroup_hooks_and_self_test_are_not_possible() {
    sandboxed(|sandbox| {
        let mut check = command_on(sandbox, sandbox.dir());
        let checked = Checked::new(check.arg("--self-test"))?;
        assert_eq!(checked.status, Some(1));
        for check in ["cgroup", "hooks", "self-test"] {
            checked.assert(check, "failure", &[])?;
        }
        checked.assert("programs", "ok", &[])?;
        Ok(())
    });
}

#[test]
fn missing_capabilities_are_told_by_what_they_are_for() {
    sandboxed(|sandbox| {
        let mut check = command(sandbox);
        with_only(&mut check, without(CapabilitySet::NET_ADMIN));
        let checked = Checked::new(&mut check)?;
        assert_eq!(checked.status, Some(1));
        checked.assert("capabilities", "failure", &["CAP_NET_ADMIN"])?;
        checked.assert("programs", "warning", &["CAP_NET_ADMIN"])?;

        let mut check = command(sandbox);
        let namespaces = CapabilitySet::SYS_ADMIN | CapabilitySet::SYS_PTRACE;
        with_only(&mut check, without(namespaces));
        let checked = Checked::new(&mut check)?;
        assert_eq!(checked.status, Some(0));
        let names = ["CAP_SYS_ADMIN", "CAP_SYS_PTRACE"];
        checked.assert("capabilities", "warning", &names)?;
        checked.assert("programs", "ok", &[])?;
        checked.assert("nftables", "warning", &["not tried"])?;
        Ok(())
    });
}

#[test]
fn other_programs_at_the_hooks_are_listed_in_their_order() {
    sandboxed(|sandbox| {
        let refuse = Verdict::Refuse;
        let others = Cgroup::at(sandbox.cgroup()).child("others")?;
        let mut check = command_on(sandbox, others.path());

        let first = foreign::attach(others.path(), &refuse)?;
        let checked = Checked::new(&mut check)?;
        assert_eq!(checked.status, Some(0));
        checked.assert("hooks", "warning", &["connect4", "before"])?;
        first.detach()?;

        let exclusive = foreign::attach_exclusively(others.path(), &refuse)?;
        let checked = Checked::new(&mut check)?;
        assert_eq!(checked.status, Some(1));
        checked.assert("hooks", "failure", &["connect4"])?;
        exclusive.detach()?;
        let checked = Checked::new(&mut check)?;
        checked.assert("hooks", "ok", &[])?;
        Ok(())
    });
}

#[test]
fn an_agents_own_programs_are_told_from_others() {
    sandboxed(|sandbox| {
        let web = Web::start(sandbox, 1, 1)?;
        let checked = Checked::new(&mut command(sandbox))?;
        checked.assert("hooks", "ok", &["none of others"])?;
        checked.assert("pinned-tables", "ok", &["as they are"])?;
        checked.assert(
            "agent",
            "ok",
            &[
                &format!("process {}", web.running.id()),
                "1 Service, 1 backend",
            ],
        )?;
        let _after = foreign::link(sandbox.cgroup(), &Verdict::GoTo(Web::ADDRESS))?;
        let checked = Checked::new(&mut command(sandbox))?;
        checked.assert("hooks", "warning", &["connect4", "after"])?;
        Ok(())
    });
}

#[test]
fn an_agents_programs_on_devices_are_not_others() {
    sandboxed(|sandbox| {
        let agent = agent(sandbox, &sandbox.manifests()?).arg("--packet-path=on");
        let _running = agent.start()?;
        ensure!(
            !status(&agent)?
                .packet_path
                .is_none_or(|of| of.devices.is_empty())
        );
        let checked = Checked::new(&mut command(sandbox))?;
        checked.assert("devices", "ok", &["no other programs"])?;
        Ok(())
    });
}

#[test]
fn the_mode_of_kube_proxy_is_found() {
    sandboxed(|sandbox| {
        nft("add table ip kube-proxy")?;
        let checked = Checked::new(&mut command(sandbox))?;
        checked.assert("kube-proxy", "ok", &["nftables mode"])?;
        nft("delete table ip kube-proxy")?;
        nft("add table ip nat")?;
        nft("add chain ip nat KUBE-SERVICES")?;
        let checked = Checked::new(&mut command(sandbox))?;
        checked.assert("kube-proxy", "ok", &["iptables mode"])?;
        Ok(())
    });
}

#[test]
fn a_kernel_without_nftables_fails_only_for_packets() {
    sandboxed(|sandbox| {
        let missing = MissingNetlink::new(libc::NETLINK_NETFILTER)?;
        for (packets, result, status) in [("off", "warning", 0), ("on", "failure", 1)] {
            let mut check = command(sandbox);
            check.args(["--packet-path", packets]);
            missing.clone().hide_from(&mut check);
            let checked = Checked::new(&mut check)?;
            assert_eq!(checked.status, Some(status));
            let row = checked.assert("nftables", result, &["nf_tables"])?;
            let remedy = row["remedy"].as_str().unwrap_or_default();
            assert!(remedy.contains("CONFIG_NF_TABLES"), "{row}");
            checked.assert("kube-proxy", "warning", &["unknown"])?;
        }
        Ok(())
    });
}

/// A trial of netfilter and of devices happens elsewhere.
#[test]
fn nothing_appears_in_the_nodes_network_namespace() {
    sandboxed(|sandbox| {
        let fresh = NetworkNamespace::create()?;
        let checked = fresh.enter(|| Checked::new(&mut command(sandbox)))??;
        checked.assert("nftables", "ok", &[])?;
        let (ruleset, disciplines) = fresh.enter(|| {
            let ruleset = Command::new("nft").args(["list", "ruleset"]).output();
            let disciplines = Command::new("tc")
                .args(["qdisc", "show", "dev", "lo"])
                .output();
            (ruleset, disciplines)
        })?;
        assert_eq!(String::from_utf8_lossy(&ruleset?.stdout), "");
        let disciplines = String::from_utf8(disciplines?.stdout)?;
        assert!(!disciplines.contains("clsact"), "{disciplines}");
        Ok(())
    });
}
