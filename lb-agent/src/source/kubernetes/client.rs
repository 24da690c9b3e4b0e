//! Clients of the API server, configured from a kubeconfig or from inside a pod. The client is created again when the server no
//! longer accepts the credentials.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hyper_timeout::TimeoutConnector;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::Client;
use kube::client::{Body, ClientBuilder, ConfigExt as _};
use kube::config::{Config, InClusterError, KubeConfigOptions, Kubeconfig, KubeconfigError};
use tokio::sync::Mutex;
use tower::BoxError;
use tower::util::{MapErr, option_layer};

use super::health::Health;
use super::monitor::MonitorLayer;
use super::pace::Pace;
use super::unreached::Unreached;

/// The API server's address and the identity to use.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// None: use the pod's service account.
    pub kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig. None: its current context.
    pub context: Option<String>,
    /// Replaces the address from the kubeconfig or from the pod's environment.
    pub api_server: Option<http::Uri>,
}

/// The reason why no client could be created.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    #[error(
        "cannot find a source of Services: name manifests with --manifests, or a cluster with --kubeconfig; \
         without either this must be a pod with a service account: {0}"
    )]
    NotInCluster(InClusterError),
    #[error("cannot use --kubeconfig {}: {error}; correct it, or name another file or --context", path.display())]
    Kubeconfig {
        path: PathBuf,
        error: KubeconfigError,
    },
    #[error("cannot make a client for the API server: {0}; check its URL and the credentials")]
    Client(kube::Error),
}

/// The limit for a connect, including TLS. The kernel repeats a lost SYN after 1 s and after 3 s (`tcp_syn_retries` in
/// ip-sysctl of the kernel's documentation).
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// The kernel sends a keepalive probe on a connection that was idle for this long.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(5);
/// The interval between further keepalive probes.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(3);
/// A connection ends when sent data is not acknowledged within this time (TCP_USER_TIMEOUT of tcp(7)).
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(10);
/// Longer than any silence of a watch: a watch ends after five minutes at most.
const ANSWER_WITHIN: Duration = Duration::from_secs(330);

impl Access {
    async fn config(&self) -> Result<Config, AccessError> {
        let mut config = match &self.kubeconfig {
            None => Config::incluster().map_err(AccessError::NotInCluster)?,
            Some(path) => {
                let failed = |error| AccessError::Kubeconfig {
                    path: path.clone(),
                    error,
                };
                let options = KubeConfigOptions {
                    context: self.context.clone(),
                    ..KubeConfigOptions::default()
                };
                let kubeconfig = Kubeconfig::read_from(path).map_err(failed)?;
                Config::from_custom_kubeconfig(kubeconfig, &options)
                    .await
                    .map_err(failed)?
            }
        };
        if let Some(server) = &self.api_server {
            config.cluster_url = server.clone();
        }
        config.connect_timeout = Some(CONNECT_WITHIN);
        config.read_timeout = Some(ANSWER_WITHIN);
        // The watches retry, and log that they do.
        config.default_retry = false;
        Ok(config)
    }

    /// Whether the server's address is the one that pods get in their environment.
    const fn is_of_pods(&self) -> bool {
        self.kubeconfig.is_none() && self.api_server.is_none()
    }
}

/// The client that all watches share.
#[derive(Clone, Debug)]
pub struct Clients {
    access: Access,
    health: Arc<Health>,
    unreached: Unreached,
    pace: Arc<Pace>,
    current: Arc<Mutex<Numbered>>,
}

/// A client, and the number of clients before it.
#[derive(Clone)]
pub struct Numbered {
    pub number: u64,
    pub client: Client,
}

impl std::fmt::Debug for Numbered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Numbered")
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

impl Clients {
    /// Reads the credentials, but sends no request to the server yet.
    pub async fn new(access: Access) -> Result<(Self, Arc<Health>), AccessError> {
        let config = access.config().await?;
        if is_open_to_others(&config.cluster_url) {
            tracing::warn!(
                event = "source.not_encrypted",
                server = %config.cluster_url,
                "the connection to the API server has no TLS: others on the network can read the credentials and redirect \
                 connections; use https://",
            );
        }
        let health = Arc::new(Health::new(config.cluster_url.to_string()));
        let host = config.cluster_url.host();
        let unreached = Unreached::new(host.filter(|_| access.is_of_pods()));
        let pace = Arc::new(Pace::new());
        let monitor = MonitorLayer::new(Arc::clone(&health), Arc::clone(&pace));
        let client = build(config, monitor, &unreached)?;
        let clients = Self {
            access,
            health: Arc::clone(&health),
            unreached,
            pace,
            current: Arc::new(Mutex::new(Numbered { number: 0, client })),
        };
        Ok((clients, health))
    }

    /// Creates clients of a server that is this service.
    #[cfg(feature = "fuzzing")]
    pub fn at<S, R>(server: S) -> (Self, Arc<Health>)
    where
        S: tower::Service<http::Request<kube::client::Body>, Response = http::Response<R>>
            + Send
            + 'static,
        S::Future: Send + 'static,
        S::Error: Into<tower::BoxError> + 'static,
        R: hyper::body::Body<Data = hyper::body::Bytes> + Send + Unpin + 'static,
        R::Error: Into<tower::BoxError>,
    {
        let health = Arc::new(Health::new(String::new()));
        let pace = Arc::new(Pace::new());
        let client = ClientBuilder::new(server, "default")
            .with_layer(&MonitorLayer::new(Arc::clone(&health), Arc::clone(&pace)))
            .build();
        let clients = Self {
            access: Access::default(),
            health: Arc::clone(&health),
            unreached: Unreached::new(None),
            pace,
            current: Arc::new(Mutex::new(Numbered { number: 0, client })),
        };
        (clients, health)
    }

    /// Decides when to retry after a failure.
    pub fn pace(&self) -> Arc<Pace> {
        Arc::clone(&self.pace)
    }

    pub async fn current(&self) -> Numbered {
        self.current.lock().await.clone()
    }

    /// Reads the credentials again, unless another task has done so since the client with this number was created.
    pub async fn renew(&self, number: u64) -> Result<(), AccessError> {
        let mut current = self.current.lock().await;
        if current.number == number {
            let config = self.access.config().await?;
            let monitor = MonitorLayer::new(Arc::clone(&self.health), self.pace());
            *current = Numbered {
                number: number + 1,
                client: build(config, monitor, &self.unreached)?,
            };
        }
        Ok(())
    }
}

/// Whether other machines could read the traffic to a server.
fn is_open_to_others(server: &http::Uri) -> bool {
    let host = server.host().unwrap_or_default();
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    let is_loopback = address.map_or(host == "localhost", |address| address.is_loopback());
    server.scheme_str() != Some("https") && !is_loopback
}

/// Like kube's own client (`make_generic_builder` in kube-client), but its connections notice when the server has gone without
/// closing them. With kube's client they would wait until the watch times out.
fn build(
    config: Config,
    monitor: MonitorLayer,
    unreached: &Unreached,
) -> Result<Client, AccessError> {
    if config.proxy_url.is_some() {
        let builder = ClientBuilder::try_from(config).map_err(AccessError::Client)?;
        return Ok(builder.with_layer(unreached).with_layer(&monitor).build());
    }
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_keepalive(Some(KEEPALIVE_AFTER));
    tcp.set_keepalive_interval(Some(KEEPALIVE_EVERY));
    tcp.set_tcp_user_timeout(Some(ACKNOWLEDGED_WITHIN));
    let tls = config
        .rustls_https_connector_with_connector(tcp)
        .map_err(AccessError::Client)?;
    let mut connector = TimeoutConnector::new(tls);
    connector.set_connect_timeout(config.connect_timeout);
    connector.set_read_timeout(config.read_timeout);
    let client = legacy::Client::builder(TokioExecutor::new()).build::<_, Body>(connector);
    let client = MapErr::new(client, BoxError::from);
    let headers = config.extra_headers_layer().map_err(AccessError::Client)?;
    let credentials = config.auth_layer().map_err(AccessError::Client)?;
    Ok(ClientBuilder::new(client, config.default_namespace.clone())
        .with_layer(&headers)
        .with_layer(&option_layer(credentials))
        .with_layer(&config.base_uri_layer())
        .with_layer(unreached)
        .with_layer(&monitor)
        .build())
}

#[cfg(test)]
mod tests {
    use super::is_open_to_others;

    #[test]
    fn a_server_without_tls_is_warned_of_unless_it_is_local() {
        for (server, is_open) in [
            ("http://10.0.0.1:6443", true),
            ("http://[fd00::1]:6443", true),
            ("http://cluster.example", true),
            ("https://10.0.0.1:6443", false),
            ("http://127.0.0.1:8001", false),
            ("http://[::1]:8001", false),
            ("http://localhost:8001", false),
        ] {
            let server = server.parse().expect("a URL");
            assert_eq!(is_open_to_others(&server), is_open, "{server}");
        }
    }
}
