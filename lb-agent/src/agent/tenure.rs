//! The tenures of an agent. It holds the pin folder until another agent asks for it, waits in standby, and starts again when
//! that agent has exited.

use std::sync::Arc;

use anyhow::Context as _;

use super::clients;
use super::main_loop::Ending;
use super::settings::AgentSettings;
use super::signals::EndSignals;
use super::state::Agent;
use super::take_over;
use crate::kernel;
use crate::serve::{Probes, ProcessStage};
use crate::sockets::Worker;

/// Alternates between holding the pin folder and standby, until SIGTERM or SIGINT.
pub fn run(settings: &AgentSettings, sockets: &Arc<Worker>) -> anyhow::Result<()> {
    let probes = Probes::bind(settings.probe_socket.as_deref())?;
    let mut ends = None;
    let mut is_first = true;
    loop {
        // Each tenure has its own runtime: every watch and every listener ends with it.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let ending = runtime.block_on(hold(settings, sockets, &probes, &mut ends, is_first));
        runtime.shutdown_background();
        match ending? {
            Ending::Signal => return Ok(()),
            Ending::HandedOver(pins) => drop(pins),
        }
        kernel::give_memory_back();
        tracing::info!(
            event = "agent.stands_by",
            "handed over the pin folder: standing by until the other agent exits",
        );
        is_first = false;
    }
}

/// `ends`: created in the first tenure and kept, so that no signal is lost between two tenures.
async fn hold(
    settings: &AgentSettings,
    sockets: &Arc<Worker>,
    probes: &Probes,
    ends: &mut Option<EndSignals>,
    is_first: bool,
) -> anyhow::Result<Ending> {
    let ends = match ends {
        Some(ends) => ends,
        None => ends.insert(EndSignals::new()?),
    };
    probes.serve().context("cannot serve the probe socket")?;
    let prepare = async {
        let mut prepared = take_over::prepare(settings, probes, is_first).await?;
        probes.enter(ProcessStage::Starting);
        let clients = clients::prepare(settings, &mut prepared, sockets).await?;
        anyhow::Ok((prepared, clients))
    };
    let (prepared, clients) = tokio::select! {
        prepared = prepare => prepared?,
        name = ends.next() => {
            tracing::info!(
                event = "agent.stopped_waiting",
                signal = name,
                "stopping before the start: this agent has changed nothing",
            );
            return Ok(Ending::Signal);
        }
    };
    Agent::start(settings.clone(), prepared, clients, Arc::clone(sockets))
        .await?
        .run(ends, probes)
        .await
}
