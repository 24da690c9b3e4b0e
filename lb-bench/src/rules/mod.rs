//! The rules that kube-proxy writes, with the structure of its chains: see pkg/proxy/nftables/proxier.go and
//! pkg/proxy/iptables/proxier.go of Kubernetes.

mod iptables;
mod nftables;

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use lb_testbed::NetworkNamespace;

use crate::services::ServiceKind;

/// The pods' addresses; the rules masquerade traffic from other addresses to ClusterIPs.
const PODS: &str = "10.244.0.0/16";

/// One of kube-proxy's modes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Nftables,
    Iptables,
}

/// The Services of a set of rules.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) kind: ServiceKind,
    pub(crate) services: usize,
    /// The node's address for NodePorts, and the hooks that packets from outside pass. Without it there are only ClusterIPs, for
    /// traffic that starts in the same network namespace.
    pub(crate) node: Option<Ipv4Addr>,
}

impl Rules {
    /// Loads them into a network namespace. `dir` takes the rules' text and the lock of iptables.
    pub(crate) fn load(self, mode: Mode, namespace: &NetworkNamespace, dir: &Path) -> Result<()> {
        let (program, words, text): (_, &[&str], _) = match mode {
            Mode::Nftables => ("nft", &["-f", "-"], self.nftables()),
            Mode::Iptables => ("iptables-legacy-restore", &[], self.iptables()),
        };
        eprintln!("bench: {program} loads {} kB of rules", text.len() / 1024);
        let file = dir.join("rules");
        std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        let mut command = Command::new(program);
        let output = namespace
            .starts(&mut command)
            .args(words)
            .env("XTABLES_LOCKFILE", dir.join("xtables.lock"))
            .stdin(std::fs::File::open(&file)?)
            .stdout(Stdio::null())
            .output()
            .with_context(|| format!("cannot run {program}"))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            let start: String = said.chars().take(400).collect();
            bail!("{program} failed: {start}");
        }
        Ok(())
    }

    fn protocol(self) -> &'static str {
        match self.kind {
            ServiceKind::Udp => "udp",
            _ => "tcp",
        }
    }
}
