//! Why a Service, one of its addresses or one of its ports has no frontend.

use std::fmt;

use super::service_port::FrontendKind;

/// Everything of a Service that gets no frontend.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Skips {
    /// The agent does not serve the Service at all.
    pub service: Option<ServiceSkip>,
    pub addresses: Vec<SkippedAddress>,
    pub ports: Vec<SkippedPort>,
}

/// Why the agent does not serve a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServiceSkip {
    /// The label `service.kubernetes.io/service-proxy-name` has this value.
    OtherProxy(String),
    /// `clusterIP: None`, or the label `service.kubernetes.io/headless`.
    Headless,
    ExternalName,
    /// The annotation `socklb.dev/ignore`.
    Ignored,
    NoClusterIp,
    NoPorts,
}

/// An address of a Service that gets no frontend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SkippedAddress {
    pub kind: FrontendKind,
    /// As written.
    pub address: String,
    pub why: AddressSkip,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AddressSkip {
    /// `--no-external-ips`.
    ExternalIpsRefused,
    /// `ipMode: Proxy`: the load balancer sends to a NodePort or to pods.
    Proxy,
    /// `loadBalancerSourceRanges` without the packet path.
    SourceRanges,
    /// Any other fault, with its remedy.
    Fault(String),
}

/// A port of a Service that gets no frontend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SkippedPort {
    /// The index in `spec.ports`.
    pub index: usize,
    /// As written.
    pub name: String,
    /// As written.
    pub port: Option<i32>,
    /// As written; none: TCP.
    pub protocol: Option<String>,
    pub why: PortSkip,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortSkip {
    Sctp,
    /// Any other fault, with its remedy; worded to follow `spec.ports[…].`.
    Fault(String),
}

impl ServiceSkip {
    /// The reason as one word, for programs.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::OtherProxy(_) => "OtherProxy",
            Self::Headless => "Headless",
            Self::ExternalName => "ExternalName",
            Self::Ignored => "Ignored",
            Self::NoClusterIp => "NoClusterIP",
            Self::NoPorts => "NoPorts",
        }
    }

    /// Whether it is a mistake in the Service.
    pub(super) const fn is_problem(&self) -> bool {
        matches!(self, Self::NoClusterIp | Self::NoPorts)
    }
}

impl fmt::Display for ServiceSkip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OtherProxy(name) => {
                return write!(
                    f,
                    "the label service.kubernetes.io/service-proxy-name leaves it to the proxy {name:?}"
                );
            }
            Self::Headless => "it is headless: clients connect to its pods directly",
            Self::ExternalName => "its type is ExternalName: clients get another DNS name",
            Self::Ignored => "the annotation socklb.dev/ignore leaves it to another program",
            Self::NoClusterIp => {
                "spec.clusterIP is missing, and only an API server can assign one: add it, or use None for a headless Service"
            }
            Self::NoPorts => "spec.ports is empty: add the ports that clients connect to",
        })
    }
}

impl AddressSkip {
    /// The reason as one word, for programs.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::ExternalIpsRefused => "ExternalIPsRefused",
            Self::Proxy => "ProxyMode",
            Self::SourceRanges => "SourceRanges",
            Self::Fault(_) => "Problem",
        }
    }
}

impl fmt::Display for AddressSkip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ExternalIpsRefused => {
                "the agent runs with --no-external-ips: use a LoadBalancer, or remove the field"
            }
            Self::Proxy => {
                "its ipMode is Proxy: clients on this node go through the load balancer"
            }
            Self::SourceRanges => {
                "a socket hook cannot check spec.loadBalancerSourceRanges: \
                 start the agent with --packet-path on, leave it to kube-proxy, or remove the ranges"
            }
            Self::Fault(message) => message,
        })
    }
}

impl PortSkip {
    /// The reason as one word, for programs.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Sctp => "SCTP",
            Self::Fault(_) => "Problem",
        }
    }
}

impl fmt::Display for PortSkip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sctp => "protocol SCTP is not supported: the kernel has no socket hook for it",
            Self::Fault(message) => message,
        })
    }
}
