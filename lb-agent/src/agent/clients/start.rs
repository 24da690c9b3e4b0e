//! What CLIENTS contains when the programs of this agent are attached.

use anyhow::Context as _;

use super::super::settings::AgentSettings;
use super::super::take_over::Prepared;
use super::search;
use super::tracker::PodTracker;
use crate::kernel::{self, KernelError, StartClients};
use crate::sockets::Worker;

/// Decides what happens to CLIENTS, and returns the pods that are known by then.
///
/// After an agent with another selection, or none, this waits until the source has listed, and finds the pods: until then the
/// programs of the earlier agent stay attached, with its selection, so that no pod is without hooks meanwhile.
pub async fn prepare(
    settings: &AgentSettings,
    prepared: &mut Prepared,
    worker: &Worker,
) -> anyhow::Result<(StartClients, Option<PodTracker>)> {
    let Some(selection) = settings.clients.clone() else {
        return Ok((StartClients::Off, None));
    };
    let host = kernel::network_cookie()?;
    let mut tracker = PodTracker::new(selection, &settings.policy.node_name, host);
    let found = kernel::pinned_selection(&prepared.pins)?;
    let clients = match found {
        // As after a crash or with an update.
        Some(pinned) if pinned == tracker.selection().fingerprint() => StartClients::Kept,
        Some(_) => {
            list(prepared).await?;
            tracker.learn(&mut prepared.first.changes);
            tracker.update();
            find(&mut tracker, settings, worker).await?;
            StartClients::Replaced(tracker.contents())
        }
        None => StartClients::Replaced(tracker.contents()),
    };
    Ok((clients, Some(tracker)))
}

/// Waits until every kind is listed.
async fn list(prepared: &mut Prepared) -> anyhow::Result<()> {
    if prepared.first.has_listed {
        return Ok(());
    }
    tracing::info!(
        event = "pods.start_postponed",
        "the flags select other pods than those of the last agent: its programs stay attached until all objects are listed",
    );
    while !prepared.first.has_listed {
        let batch = prepared.batches.recv().await;
        prepared
            .first
            .append(batch.context("the source has ended")?);
    }
    Ok(())
}

/// Searches once. Pods that are not found are searched for again by the running agent.
async fn find(
    tracker: &mut PodTracker,
    settings: &AgentSettings,
    worker: &Worker,
) -> Result<(), KernelError> {
    let uids = tracker.begin_search();
    let cgroup = kernel::cgroup_path(&settings.kernel)?;
    match search::answer(worker.find_pods(search::of(cgroup, uids)).await) {
        Ok(found) => drop(tracker.end_search(&found)),
        // The running agent reports it too.
        Err(error) => tracing::debug!(
            event = "pods.first_search_failed",
            error,
            "cannot find the network namespaces of pods",
        ),
    }
    Ok(())
}
