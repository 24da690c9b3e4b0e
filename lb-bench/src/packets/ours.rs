//! socklb's packet path as a contender: a real agent on a router's node.

use std::process::Command;

use anyhow::{Context as _, Result};
use aya::programs::{SchedClassifier, TcAttachType};
use lb_testbed::{Agent, AgentProcess, Manifests, Sandbox};

use super::router::{DEVICES, Router};
use crate::Options;
use crate::services::{self, ServiceKind};

const FLAG: &str = "--packet-path";

/// Whether the agent has a packet path.
pub(super) fn is_available(options: &Options) -> Result<bool> {
    let output = Command::new(&options.agent)
        .args(["run", "--help"])
        .output()
        .with_context(|| format!("cannot run {}", options.agent.display()))?;
    Ok(String::from_utf8_lossy(&output.stdout).contains(FLAG))
}

#[derive(Debug)]
pub(super) struct Ours {
    agent: Agent,
    process: AgentProcess,
}

impl Ours {
    /// Starts an agent and waits until its tables contain all Services.
    pub(super) fn start(
        options: &Options,
        sandbox: &Sandbox,
        router: &Router,
        kind: ServiceKind,
        services: usize,
    ) -> Result<Self> {
        let node = router.node();
        eprintln!("bench: an agent with {services} services ({kind:?})");
        let manifests = Manifests::in_folder(sandbox.dir().join(node.name()))?;
        services::write_node_ports(&manifests, kind, services)?;
        let folder = manifests.folder();
        let agent = Agent::on_cgroup(&options.agent, sandbox, folder, node.cgroup())
            .on_host(node.host())
            .beside(node.name())
            .arg(format!("{FLAG}=on"))
            .arg("--cluster-cidr=10.244.0.0/16");
        let process = agent.start()?;
        router.shorten_timeouts()?;
        Ok(Self { agent, process })
    }

    /// The kernel's id of the program on the router's device to the client; none where the kernel has no tcx (before 6.6).
    pub(super) fn program(&self, router: &Router) -> Result<Option<u32>> {
        let host = router.node().host();
        let attached =
            host.enter(|| SchedClassifier::query_tcx(DEVICES[0], TcAttachType::Ingress))?;
        let programs = attached.map(|(_, programs)| programs).unwrap_or_default();
        Ok(programs.first().map(aya::programs::ProgramInfo::id))
    }

    /// Stops the agent and removes its tables and rules from the kernel.
    pub(super) fn end(mut self) -> Result<()> {
        self.process.terminate()?;
        self.agent.unload()
    }
}
