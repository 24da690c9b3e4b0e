//! The rollout state of a DaemonSet.

use kube::api::GetParams;
use kube::core::Request;
use serde::Deserialize;

use super::client::{Access, AccessError, Clients};
use super::trouble;

/// The DaemonSets of one namespace.
#[derive(Debug)]
pub struct DaemonSets {
    clients: Clients,
}

/// The rollout state of a DaemonSet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DaemonSetRollout {
    /// Its controller has not observed its latest generation.
    NotObserved,
    /// The number of its pods that have the current revision and are available.
    Pods { available: u64, wanted: u64 },
}

impl DaemonSets {
    /// Uses the namespace of the kubeconfig or the pod. It reads the credentials, but sends no request to the server yet.
    ///
    /// # Errors
    /// The credentials are missing or invalid.
    pub async fn open(access: Access) -> Result<Self, AccessError> {
        let (clients, _) = Clients::new(access).await?;
        Ok(Self { clients })
    }

    /// Needs only the verb `get`.
    ///
    /// # Errors
    /// The server does not return the DaemonSet. The error contains the reason.
    pub async fn rollout(&self, name: &str) -> Result<DaemonSetRollout, String> {
        let client = self.clients.current().await.client;
        let namespace = client.default_namespace();
        let path = format!("/apis/apps/v1/namespaces/{namespace}/daemonsets");
        let request = Request::new(path).get(name, &GetParams::default());
        let request = request.map_err(|error| error.to_string())?;
        let asked = client.request::<DaemonSet>(request);
        let daemon_set = asked.await.map_err(|error| trouble::client_line(&error))?;
        Ok(daemon_set.rollout())
    }
}

impl DaemonSetRollout {
    #[must_use]
    pub const fn is_complete(self) -> bool {
        match self {
            Self::NotObserved => false,
            Self::Pods { available, wanted } => available >= wanted,
        }
    }
}

/// The fields of apps/v1 that `kubectl rollout status` reads (polymorphichelpers/rollout_status.go).
#[derive(Debug, Deserialize)]
struct DaemonSet {
    metadata: DaemonSetMetadata,
    #[serde(default)]
    status: DaemonSetStatus,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct DaemonSetMetadata {
    #[serde(default)]
    generation: i64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct DaemonSetStatus {
    observed_generation: i64,
    desired_number_scheduled: u64,
    updated_number_scheduled: u64,
    number_available: u64,
}

impl DaemonSet {
    fn rollout(&self) -> DaemonSetRollout {
        let status = &self.status;
        if status.observed_generation < self.metadata.generation {
            return DaemonSetRollout::NotObserved;
        }
        DaemonSetRollout::Pods {
            available: status.updated_number_scheduled.min(status.number_available),
            wanted: status.desired_number_scheduled,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rollout(status: serde_json::Value) -> DaemonSetRollout {
        let object = json!({"metadata": {"name": "agents", "generation": 2}, "status": status});
        let object: DaemonSet = serde_json::from_value(object).expect("a DaemonSet");
        object.rollout()
    }

    #[test]
    fn available_pods_of_the_current_revision_count() {
        for (updated, available, least) in [(3, 2, 2), (1, 3, 1), (3, 3, 3)] {
            let rollout = rollout(json!({
                "observedGeneration": 2, "desiredNumberScheduled": 3,
                "updatedNumberScheduled": updated, "numberAvailable": available,
            }));
            let wanted = DaemonSetRollout::Pods {
                available: least,
                wanted: 3,
            };
            assert_eq!(rollout, wanted);
            assert_eq!(rollout.is_complete(), least == 3);
        }
    }

    #[test]
    fn a_daemon_set_without_nodes_is_complete_once_observed() {
        let seen = json!({"observedGeneration": 2, "desiredNumberScheduled": 0});
        assert!(rollout(seen).is_complete());
        let earlier = json!({"observedGeneration": 1, "desiredNumberScheduled": 0});
        assert_eq!(rollout(earlier), DaemonSetRollout::NotObserved);
        assert_eq!(rollout(json!({})), DaemonSetRollout::NotObserved);
    }
}
