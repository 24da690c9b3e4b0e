//! How the main loop says how it fares, and how the servers read it.

use tokio::sync::watch;

use super::NodeEligibility;
use super::proxy_health::{Moment, ProxyHealth};
use crate::catalog::Family;

/// The main loop's side. Its calls never wait.
#[derive(Debug, Default)]
pub struct HealthReporter {
    health: watch::Sender<ProxyHealth>,
}

/// The servers' side: the last report, also after the main loop has stopped reporting.
#[derive(Clone, Debug)]
pub struct HealthView {
    health: watch::Receiver<ProxyHealth>,
}

impl HealthReporter {
    #[must_use]
    pub fn view(&self) -> HealthView {
        HealthView {
            health: self.health.subscribe(),
        }
    }

    /// Changes for these families have arrived. Call it when they arrive, before they are applied.
    pub fn queued(&self, families: &[Family]) {
        self.change(|health, now| {
            for &family in families {
                health.queued(family, now);
            }
        });
    }

    /// All changes for these families that have arrived are in effect.
    pub fn updated(&self, families: &[Family]) {
        self.change(|health, now| {
            for &family in families {
                health.updated(family, now);
            }
        });
    }

    /// The main loop runs. Call it every second or so; without any call the main loop counts as running.
    pub fn beat(&self) {
        self.change(ProxyHealth::beat);
    }

    /// Whether load balancers may use the node. Before the first call they may not.
    pub fn set_node(&self, node: NodeEligibility) {
        let before = self.health.borrow().node;
        if before == node {
            return;
        }
        self.change(|health, _| health.node = node);
        tracing::info!(
            event = "health.node_eligibility_changed",
            eligible = node.is_eligible(),
            reason = %node,
            "whether load balancers may use this node has changed",
        );
    }

    /// Whether the packet path does not work though it is on: load balancers must use other nodes.
    pub fn set_lacks_packets(&self, lacks_packets: bool) {
        if self.health.borrow().lacks_packets != lacks_packets {
            self.change(|health, _| health.lacks_packets = lacks_packets);
        }
    }

    /// Reports a change that has waited for this long.
    #[cfg(test)]
    pub(super) fn report_late(&self, family: Family, waited: std::time::Duration) {
        self.change(|health, now| {
            health.updated(family, now);
            let instant = now.instant.checked_sub(waited).unwrap_or(now.instant);
            health.queued(family, Moment { instant, ..now });
        });
    }

    fn change(&self, change: impl FnOnce(&mut ProxyHealth, Moment)) {
        let now = Moment::now();
        self.health.send_modify(|health| change(health, now));
    }
}

impl HealthView {
    pub(super) fn read<T>(&self, read: impl FnOnce(&ProxyHealth, Moment) -> T) -> T {
        read(&self.health.borrow(), Moment::now())
    }
}
