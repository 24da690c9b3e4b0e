//! The objects of a source and what the policy makes of them, for commands that need no agent.

use std::time::Duration;

use anyhow::bail;
use tokio::sync::mpsc;

use super::runtime::block_on;
use super::source_settings::SourceSettings;
use crate::catalog::{Catalog, Problem};
use crate::policy::Policy;
use crate::source::{Kubernetes, Manifests, Source, kubernetes};

/// All objects of a source, and the policy's result.
pub(super) struct Objects {
    pub(super) catalog: Catalog,
    pub(super) policy: Policy,
    /// Of the source and of the policy.
    pub(super) problems: Vec<Problem>,
}

impl Objects {
    /// Reads everything once.
    ///
    /// # Errors
    /// A path cannot be read, or the API server does not answer.
    pub(super) fn read(settings: &SourceSettings) -> anyhow::Result<Self> {
        let mut catalog = Catalog::new(&settings.policy.node_name);
        let mut problems = match &settings.source {
            Source::Manifests(paths) => {
                let (_, listing) = Manifests::open(paths.clone())?;
                for change in listing.changes {
                    catalog.apply(change);
                }
                listing.problems
            }
            Source::Kubernetes(settings) => block_on(list(settings.clone(), &mut catalog))?,
        };
        let mut policy = Policy::new(settings.policy.clone());
        let touched = catalog.take_touched();
        policy.update(&catalog, touched);
        problems.extend(policy.problems().cloned());
        Ok(Self {
            catalog,
            policy,
            problems,
        })
    }
}

/// How long to wait for an answer of the API server before its trouble counts as an error.
const PATIENCE: Duration = Duration::from_secs(5);

/// Lists everything at the API server. Returns the problems.
async fn list(
    settings: kubernetes::KubernetesSettings,
    catalog: &mut Catalog,
) -> anyhow::Result<Vec<Problem>> {
    let cluster = Kubernetes::open(settings).await?;
    let health = cluster.health();
    let (sender, mut batches) = mpsc::channel(16);
    cluster.watch(sender);
    loop {
        match tokio::time::timeout(PATIENCE, batches.recv()).await {
            Ok(Some(batch)) => {
                for change in batch.changes {
                    catalog.apply(change);
                }
                if batch.has_listed {
                    return Ok(batch.problems);
                }
            }
            Ok(None) => bail!("cannot list the cluster: the watches of the API server ended"),
            Err(_) => {
                let trouble = health.kinds().into_values().find_map(|kind| kind.trouble);
                if let Some((_, why)) = trouble {
                    bail!("cannot list the cluster at {}: {why}", health.server());
                }
            }
        }
    }
}
