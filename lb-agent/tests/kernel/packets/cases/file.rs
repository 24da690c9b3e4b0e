//! What of the recorded cases packets need.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde::Deserialize;
use serde_json::Value;

#[derive(Debug, Deserialize)]
pub struct File {
    pub cases: Vec<Case>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Case {
    pub id: String,
    pub node: Node,
    #[serde(default)]
    pub node_port_addresses: String,
    #[serde(default)]
    pub masquerade_all: bool,
    #[serde(default)]
    pub objects: Vec<Value>,
    #[serde(default)]
    pub flows: Vec<Flow>,
}

#[derive(Debug, Deserialize)]
pub struct Node {
    pub name: String,
    #[serde(default)]
    pub ips: Vec<IpAddr>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Flow {
    pub name: String,
    pub client: String,
    #[serde(rename = "sourceIP")]
    pub source: IpAddr,
    pub protocol: String,
    #[serde(rename = "destIP")]
    pub destination: IpAddr,
    #[serde(rename = "destPort")]
    pub port: u16,
    pub verdict: String,
    pub endpoints: Vec<String>,
    pub masquerade: bool,
}

/// Why a recorded connection is not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LeftOut {
    Sctp,
    /// Its connects are balanced at the socket.
    TheNodeItself,
    HealthCheckNodePort,
    /// The source is a Service's address, which no machine can have.
    FromAFrontend,
    /// Left to routing, where kube-proxy's nftables mode drops it.
    UnallocatedClusterIp,
}

impl Case {
    pub fn left_out(&self, flow: &Flow) -> Option<LeftOut> {
        let addresses: BTreeSet<&str> = self.addresses().collect();
        if flow.protocol == "SCTP" {
            Some(LeftOut::Sctp)
        } else if flow.client == "node" {
            Some(LeftOut::TheNodeItself)
        } else if flow.endpoints == ["ACCEPT"] || self.id.contains("HealthCheckNodePort") {
            Some(LeftOut::HealthCheckNodePort)
        } else if addresses.contains(&*flow.source.to_string()) {
            Some(LeftOut::FromAFrontend)
        } else if flow.verdict == "DROP"
            && flow.destination.to_string().starts_with("172.30.")
            && !addresses.contains(&*flow.destination.to_string())
        {
            Some(LeftOut::UnallocatedClusterIp)
        } else {
            None
        }
    }

    /// ClusterIPs and LoadBalancer IPs of the Services.
    fn addresses(&self) -> impl Iterator<Item = &str> {
        self.objects.iter().flat_map(|object| {
            let ingress = object["status"]["loadBalancer"]["ingress"].as_array();
            let ingress = ingress.into_iter().flatten().map(|ingress| &ingress["ip"]);
            let all = ingress.chain([&object["spec"]["clusterIP"]]);
            all.filter_map(Value::as_str)
        })
    }

    /// The agent's flags; kube-proxy's have the same names.
    pub fn flags(&self) -> Vec<String> {
        let ranges = self.node_port_addresses.trim_matches(['[', ']']);
        let mut flags = vec![
            "--packet-path=on".to_owned(),
            format!("--nodeport-addresses={}", ranges.replace(' ', ",")),
        ];
        if !self.id.contains("no LocalTrafficDetector") {
            flags.push("--cluster-cidr=10.0.0.0/8,fd00:10::/64".to_owned());
        }
        if self.masquerade_all {
            flags.push("--masquerade-all".to_owned());
        }
        flags
    }
}
