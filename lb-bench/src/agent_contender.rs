//! A real agent with its Services, on a cgroup of its own.

use anyhow::Result;
use lb_testbed::{Agent, AgentProcess, Manifests, Sandbox};

use crate::Common;
use crate::contender::Contender;
use crate::services::{self, Kind};

#[derive(Debug)]
pub(crate) struct Ours {
    contender: Contender,
    agent: Agent,
    process: AgentProcess,
}

impl Ours {
    /// Starts one and waits until its tables have all Services.
    pub(crate) fn start(
        common: &Common,
        sandbox: &Sandbox,
        kind: Kind,
        services: usize,
    ) -> Result<Self> {
        let name = format!("ours-{kind:?}-{services}").to_lowercase();
        eprintln!("bench: an agent with {services} services ({kind:?})");
        let mut contender = Contender::new(sandbox, &name)?;
        let manifests = Manifests::in_folder(sandbox.dir().join(&name))?;
        services::write(&manifests, kind, services)?;
        let cgroup = contender.cgroup().path().to_owned();
        let agent = Agent::on_cgroup(&common.agent, sandbox, manifests.folder(), &cgroup);
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

    /// Ends it and takes its tables out of the kernel.
    pub(crate) fn end(mut self) -> Result<()> {
        self.process.terminate()?;
        self.agent.unload()
    }
}
