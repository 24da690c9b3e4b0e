//! socklb as a contender: a real agent with its Services, on a cgroup of its own.

use anyhow::Result;
use lb_testbed::{Agent, AgentProcess, Manifests, Sandbox};

use crate::Options;
use crate::contender::Contender;
use crate::services::{self, ServiceKind};

#[derive(Debug)]
pub(crate) struct AgentContender {
    contender: Contender,
    agent: Agent,
    process: AgentProcess,
}

impl AgentContender {
    /// Starts an agent and waits until its tables contain all Services.
    pub(crate) fn start(
        options: &Options,
        sandbox: &Sandbox,
        kind: ServiceKind,
        services: usize,
    ) -> Result<Self> {
        let name = format!("ours-{kind:?}-{services}").to_lowercase();
        eprintln!("bench: an agent with {services} services ({kind:?})");
        let mut contender = Contender::new(sandbox, &name)?;
        let manifests = Manifests::in_folder(sandbox.dir().join(&name))?;
        services::write(&manifests, kind, services)?;
        let cgroup = contender.cgroup().path().to_owned();
        let agent = Agent::on_cgroup(&options.agent, sandbox, manifests.folder(), &cgroup);
        let agent = agent.beside(&name);
        let process = agent.start()?;
        contender.set_programs_of(&agent)?;
        Ok(Self {
            contender,
            agent,
            process,
        })
    }

    pub(crate) fn contender(&self) -> &Contender {
        &self.contender
    }

    pub(crate) fn agent(&self) -> &Agent {
        &self.agent
    }

    /// Stops the agent and removes its tables from the kernel.
    pub(crate) fn end(mut self) -> Result<()> {
        self.process.terminate()?;
        self.agent.unload()
    }
}
