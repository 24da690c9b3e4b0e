//! Notices when the cluster's history goes back: a watch from a revision that a restored server has not reached yet is
//! silent until it has, and looks well all the time.

use std::sync::Arc;
use std::time::Duration;

use kube::Api;
use kube::api::ListParams;
use tokio::sync::watch;

use super::client::Clients;
use super::decode::Sent;
use super::health::Health;
use crate::catalog::Node;

/// Changes whenever the history went back.
pub type HistoryResets = watch::Receiver<u64>;

/// Asks now and then, from a task of its own, how far the server is; until nobody listens.
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
            // Before the server is asked: it is to have come as far.
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

/// None while it cannot be asked; the watches tell why.
async fn revision(clients: &Clients, node_name: &str) -> Option<u64> {
    let params = ListParams::default()
        .fields(&format!("metadata.name={node_name}"))
        .limit(1);
    let nodes = Api::<Sent<Node>>::all(clients.current().await.client);
    let list = nodes.list(&params).await.ok()?;
    list.metadata.resource_version?.parse().ok()
}
