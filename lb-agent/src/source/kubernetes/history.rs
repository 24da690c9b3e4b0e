//! Detects that the cluster's history went back. A watch from a revision that a restored server has not reached yet receives
//! nothing until the server reaches it, and looks healthy all that time.

use std::sync::Arc;
use std::time::Duration;

use kube::Api;
use kube::api::ListParams;
use tokio::sync::watch;

use super::client::Clients;
use super::decode::Sent;
use super::health::Health;
use crate::catalog::Node;

/// Changes each time the history goes back.
pub type HistoryResets = watch::Receiver<u64>;

/// Starts a task that regularly asks the server for its current revision. The task ends when all receivers are dropped.
pub fn follow(
    clients: Clients,
    health: Arc<Health>,
    node_name: String,
    every: Duration,
) -> HistoryResets {
    let (sender, resets) = watch::channel(0);
    tokio::spawn(async move {
        let mut last = 0;
        while !sender.is_closed() {
            // Read this before the request: the server must have reached at least this revision.
            last = health.take_position().max(last);
            if let Some(now) = revision(&clients, &node_name).await {
                if now < last {
                    tracing::warn!(
                        event = "source.history_changed",
                        last_revision = last,
                        revision = now,
                        "the API server went back to an earlier revision: listing all objects again",
                    );
                    sender.send_modify(|times| *times += 1);
                }
                last = now;
            }
            tokio::time::sleep(every).await;
        }
    });
    resets
}

/// None while the request fails. The watches report the reason.
async fn revision(clients: &Clients, node_name: &str) -> Option<u64> {
    let params = ListParams::default()
        .fields(&format!("metadata.name={node_name}"))
        .limit(1);
    let nodes = Api::<Sent<Node>>::all(clients.current().await.client);
    let list = nodes.list(&params).await.ok()?;
    list.metadata.resource_version?.parse().ok()
}
