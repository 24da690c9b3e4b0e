//! Where Services come from, and for which node: flags that several subcommands have.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::packets::PacketArgs;
use super::values::{api_server, duration};
use crate::commands;
use crate::policy::{Algorithm, Options};
use crate::source::{ClientKinds, Source, kubernetes};

/// Where Services come from, and for which node.
#[derive(Clone, Debug, Args)]
pub struct SourceArgs {
    /// Manifest files, or folders whose *.yaml, *.yml and *.json files are read (not recursively). Kinds other than Service,
    /// EndpointSlice, Node and ServiceCIDR are ignored, except Pod and Namespace if a selection of pods needs them [default: read from the Kubernetes API].
    #[arg(long, num_args = 1.., value_name = "PATH", conflicts_with_all = ["kubeconfig", "api_server"])]
    pub manifests: Vec<PathBuf>,

    #[command(flatten)]
    pub access: AccessArgs,

    /// Restart a watch of the Kubernetes API that has received nothing for this long.
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration)]
    pub watch_timeout: Duration,

    /// This node's name, as in the nodeName of EndpointSlices. Converted to lower case [default: the host name].
    #[arg(long, env = "NODE_NAME", hide_env_values = true, value_name = "NAME")]
    pub node_name: Option<String>,

    /// Algorithm for Services without the annotation socklb.dev/algorithm: random, least-conn, maglev or round-robin.
    #[arg(long, value_name = "ALGORITHM", default_value = "random")]
    pub default_algorithm: Algorithm,

    /// Outlier detection for Services without the annotation socklb.dev/outlier-detection: a backend to which connects of this node
    /// fail in a row gets no more of them for a time.
    #[arg(long)]
    pub outlier_detection: bool,

    /// Also serve Services whose label service.kubernetes.io/service-proxy-name has this value.
    #[arg(long, value_name = "NAME")]
    pub service_proxy_name: Option<String>,

    #[command(flatten)]
    pub packets: PacketArgs,
}

/// How to reach the Kubernetes API.
#[derive(Clone, Debug, Args)]
pub struct AccessArgs {
    /// Kubeconfig file for the Kubernetes API [default: the pod's service account].
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,

    /// Context of the kubeconfig [default: its current context].
    #[arg(long, value_name = "NAME", requires = "kubeconfig")]
    pub context: Option<String>,

    /// URL of the API server, such as https://192.0.2.1:6443. Needed in a pod when nothing else on the node serves the ClusterIP of
    /// the Service "kubernetes" [default: from the kubeconfig or the pod's environment].
    #[arg(long, value_name = "URL", value_parser = api_server)]
    pub api_server: Option<http::Uri>,
}

impl AccessArgs {
    pub(super) fn settings(self) -> kubernetes::Access {
        kubernetes::Access {
            kubeconfig: self.kubeconfig,
            context: self.context,
            api_server: self.api_server,
        }
    }
}

impl SourceArgs {
    pub(super) fn settings(&self) -> commands::SourceSettings {
        let node_name = match self.node_name.as_deref().map(str::trim) {
            None | Some("") => commands::host_name(),
            // As kube-proxy does with --hostname-override (GetHostname in k8s.io/component-helpers/node/util).
            Some(name) => name.to_lowercase(),
        };
        let source = if self.manifests.is_empty() {
            Source::Kubernetes(kubernetes::KubernetesSettings {
                access: self.access.clone().settings(),
                node_name: node_name.clone(),
                wants_foreign: self.service_proxy_name.is_some(),
                wants_service_cidrs: false,
                clients: ClientKinds::default(),
                silent_within: self.watch_timeout,
            })
        } else {
            Source::Manifests(self.manifests.clone())
        };
        commands::SourceSettings {
            source,
            policy: Options {
                node_name,
                service_proxy_name: self.service_proxy_name.clone(),
                default_algorithm: self.default_algorithm,
                detects_outliers: self.outlier_detection,
                packets: self.packets.masquerading(),
                refuses_external_ips: self.packets.no_external_ips,
                ..Options::default()
            },
        }
    }
}
