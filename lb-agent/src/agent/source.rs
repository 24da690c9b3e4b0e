//! The source of a running agent. The contents of manifests are available at once, those of a cluster when its lists
//! have arrived.

use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::mpsc::Sender;

use crate::serve::{SourceStatus, WatchStatus};
use crate::source::kubernetes::{Health, KindHealth, KubernetesSettings};
use crate::source::{Batch, ClientKinds, Kubernetes, Manifests, Source};

/// An opened source.
pub enum OpenedSource {
    Manifests(Box<Manifests>),
    Kubernetes(Box<Kubernetes>),
}

/// A watched source.
pub enum WatchedSource {
    Manifests {
        paths: Vec<String>,
        _thread: JoinHandle<()>,
    },
    Kubernetes(Arc<Health>),
}

/// Opens a source, and returns the contents that are available already.
///
/// `clients`: the kinds of clients to read too.
pub async fn open(source: &Source, clients: ClientKinds) -> anyhow::Result<(OpenedSource, Batch)> {
    match source {
        Source::Manifests(paths) => {
            let (manifests, listing) = Manifests::open_with(paths.clone(), clients)?;
            tracing::info!(
                event = "source.listed",
                objects = listing.objects,
                files = listing.files,
                "read the manifests",
            );
            let batch = Batch {
                changes: listing.changes,
                problems: listing.problems,
                has_listed: true,
                is_complete: listing.is_complete,
                received: None,
            };
            Ok((OpenedSource::Manifests(Box::new(manifests)), batch))
        }
        Source::Kubernetes(settings) => {
            let cluster = Kubernetes::open(KubernetesSettings {
                clients,
                ..settings.clone()
            })
            .await?;
            tracing::info!(
                event = "source.opened",
                server = cluster.health().server(),
                "the source is an API server",
            );
            Ok((
                OpenedSource::Kubernetes(Box::new(cluster)),
                Batch::default(),
            ))
        }
    }
}

impl OpenedSource {
    /// Sends all further changes of the source.
    pub fn watch(self, source: &Source, batches: Sender<Batch>) -> anyhow::Result<WatchedSource> {
        Ok(match self {
            Self::Manifests(manifests) => WatchedSource::Manifests {
                paths: match source {
                    Source::Manifests(paths) => paths
                        .iter()
                        .map(|path| path.display().to_string())
                        .collect(),
                    Source::Kubernetes(_) => Vec::new(),
                },
                _thread: manifests.watch(batches)?,
            },
            Self::Kubernetes(cluster) => {
                let health = cluster.health();
                cluster.watch(batches);
                WatchedSource::Kubernetes(health)
            }
        })
    }
}

impl WatchedSource {
    pub fn status(&self) -> SourceStatus {
        match self {
            Self::Manifests { paths, .. } => SourceStatus {
                kind: "manifests".to_owned(),
                from: paths.join(", "),
                watches: Vec::new(),
            },
            Self::Kubernetes(health) => SourceStatus {
                kind: "kubernetes".to_owned(),
                from: health.server().to_owned(),
                watches: health
                    .kinds()
                    .iter()
                    .map(|(kind, health)| watch_status(&kind.to_string(), health))
                    .collect(),
            },
        }
    }
}

fn watch_status(kind: &str, health: &KindHealth) -> WatchStatus {
    let trouble = health.trouble.as_ref();
    WatchStatus {
        kind: kind.to_owned(),
        listed: health.has_listed,
        lists: health.lists,
        errors: health.errors,
        heard_seconds_ago: health.last_data.map(|at| at.elapsed().as_secs_f64()),
        event_seconds_ago: health.event.map(|at| at.elapsed().as_secs_f64()),
        trouble: trouble.map(|(_, why)| why.clone()),
        trouble_seconds: trouble.map(|(since, _)| since.elapsed().as_secs_f64()),
    }
}
