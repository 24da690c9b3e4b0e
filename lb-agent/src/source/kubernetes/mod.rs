//! The Kubernetes API as a source. It lists and watches Services, EndpointSlices, the own Node and, if needed, ServiceCIDRs, the
//! node's Pods and the Namespaces for as long as the agent runs.
//!
//! `client` connects to the server, and `unreached` explains why a connect may fail. `version` determines the server's
//! capabilities, and `monitor` observes its answers. `decode` decodes the objects. `kind_watch` follows one kind: `trouble`
//! classifies its errors, and `pace` decides when to retry. `history` detects when the server's history goes back, `gather`
//! combines the kinds, and `health` reports how fresh the data is. `daemon_set` is independent of the watches: it requests the
//! state of a DaemonSet.

mod client;
mod daemon_set;
mod decode;
mod gather;
mod health;
mod history;
mod kind_watch;
mod metrics;
mod monitor;
mod pace;
mod trouble;
mod unreached;
mod version;
mod watch_log;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

pub use self::client::{Access, AccessError};
pub use self::daemon_set::{DaemonSetRollout, DaemonSets};
pub use self::health::{Health, KindHealth};
pub use self::metrics::WatchMetrics;

use self::client::Clients;
use self::decode::WatchedKind;
use self::gather::Gatherer;
use self::history::HistoryResets;
use self::kind_watch::{KindWatch, WatchScope};
use super::batch::Batch;
use super::client_kinds::ClientKinds;
use crate::catalog::{EndpointSlice, Kind, Namespace, Node, Pod, Service, ServiceCidr};

/// The objects to watch, and the API server.
#[derive(Clone, Debug)]
pub struct KubernetesSettings {
    pub access: Access,
    /// The name of the agent's own node.
    pub node_name: String,
    /// Also watch Services that are assigned to other proxies.
    pub wants_foreign: bool,
    /// Also watch ServiceCIDRs.
    pub wants_service_cidrs: bool,
    pub clients: ClientKinds,
    /// A watch is restarted when the server sends nothing for this long, bookmarks included.
    pub silent_within: Duration,
}

/// A cluster to watch.
#[derive(Debug)]
pub struct Kubernetes {
    settings: KubernetesSettings,
    clients: Clients,
    health: Arc<Health>,
}

/// kube-proxy's selector (cmd/kube-proxy/app/server.go).
const NOT_FOREIGN: &str = "!service.kubernetes.io/service-proxy-name";
/// The same.
const NOT_HEADLESS: &str = "!service.kubernetes.io/headless";
/// The same.
const WITH_CLUSTER_IP: &str = "spec.clusterIP!=None";

impl Kubernetes {
    /// Reads the credentials, but sends no request yet. The server need not be reachable.
    ///
    /// # Errors
    /// The credentials are missing or invalid.
    pub async fn open(settings: KubernetesSettings) -> Result<Self, AccessError> {
        let (clients, health) = Clients::new(settings.access.clone()).await?;
        Ok(Self {
            settings,
            clients,
            health,
        })
    }

    /// Creates a cluster whose server is this service.
    #[cfg(feature = "fuzzing")]
    pub fn at<S, R>(settings: KubernetesSettings, server: S) -> Self
    where
        S: tower::Service<http::Request<kube::client::Body>, Response = http::Response<R>>
            + Send
            + 'static,
        S::Future: Send + 'static,
        S::Error: Into<tower::BoxError> + 'static,
        R: hyper::body::Body<Data = hyper::body::Bytes> + Send + Unpin + 'static,
        R::Error: Into<tower::BoxError>,
    {
        let (clients, health) = Clients::at(server);
        Self {
            settings,
            clients,
            health,
        }
    }

    #[must_use]
    pub fn health(&self) -> Arc<Health> {
        Arc::clone(&self.health)
    }

    /// Sends all objects and then the changes, until the receiver is dropped.
    pub fn watch(self, batches: mpsc::Sender<Batch>) {
        let mut kinds = BTreeSet::from([Kind::Service, Kind::EndpointSlice, Kind::Node]);
        if self.settings.wants_service_cidrs {
            kinds.insert(Kind::ServiceCidr);
        }
        kinds.extend(self.settings.clients.kinds());
        let gatherer = Gatherer::new(batches, kinds);
        let resets = history::follow(
            self.clients.clone(),
            self.health(),
            self.settings.node_name.clone(),
            self.settings.silent_within,
        );
        self.start::<Service>(
            &gatherer,
            &resets,
            (!self.settings.wants_foreign).then_some(NOT_FOREIGN),
            Some(WITH_CLUSTER_IP.to_owned()),
        );
        self.start::<EndpointSlice>(&gatherer, &resets, Some(NOT_HEADLESS), None);
        let own = format!("metadata.name={}", self.settings.node_name);
        self.start::<Node>(&gatherer, &resets, None, Some(own));
        if self.settings.wants_service_cidrs {
            self.start::<ServiceCidr>(&gatherer, &resets, None, None);
        }
        let ClientKinds { pods, namespaces } = self.settings.clients;
        if pods {
            let here = format!("spec.nodeName={}", self.settings.node_name);
            self.start::<Pod>(&gatherer, &resets, None, Some(here));
        }
        if namespaces {
            self.start::<Namespace>(&gatherer, &resets, None, None);
        }
    }

    fn start<T: WatchedKind>(
        &self,
        gatherer: &Gatherer,
        resets: &HistoryResets,
        labels: Option<&'static str>,
        fields: Option<String>,
    ) {
        let scope = WatchScope {
            labels,
            fields,
            silent_within: self.settings.silent_within,
        };
        let watch = KindWatch::<T>::new(
            self.clients.clone(),
            Arc::clone(&self.health),
            gatherer.clone(),
            resets.clone(),
            scope,
        );
        tokio::spawn(watch.run());
    }
}
