//! Which UDP flows lead to an endpoint that has stopped serving.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;

use super::Flow;
use crate::catalog::{Family, Protocol};
use crate::policy::{Frontend, FrontendKind, ServicePort};

/// The endpoints of a service port to which flows may lead.
type Serving = Arc<HashSet<SocketAddr>>;

/// kube-proxy's rule (`CleanStaleEntries` in pkg/proxy/conntrack/cleanup.go): a flow whose original destination is a
/// frontend and whose reply does not come from a serving endpoint is stale.
///
/// Serving counts, local or not, terminating or not: changes of policies, topology and readiness leave flows in use alone,
/// as they leave TCP connections alone. So do service ports without a serving endpoint, and those that are removed.
#[derive(Clone, Debug, Default)]
pub struct StaleRule {
    frontends: HashMap<SocketAddr, Serving>,
    /// NodePorts that answer on any address.
    node_ports: HashMap<(Family, u16), Serving>,
}

impl StaleRule {
    /// The rule for all these service ports; those of TCP do not count.
    ///
    /// A NodePort without an address covers all flows to its port number, as in kube-proxy: those to other machines too.
    /// [`crate::policy::NodePorts::expand`] limits it to the node's addresses.
    pub fn new<'a>(ports: impl IntoIterator<Item = &'a ServicePort>) -> Self {
        let mut rule = Self::default();
        for port in ports {
            if port.key.protocol == Protocol::Udp {
                rule.add(port);
            }
        }
        rule
    }

    fn add(&mut self, port: &ServicePort) {
        let serving = port.backends.iter().filter(|backend| backend.serving);
        let serving: HashSet<SocketAddr> = serving.map(|backend| backend.address).collect();
        if serving.is_empty() {
            return;
        }
        let serving = Arc::new(serving);
        for &Frontend {
            kind,
            address,
            port: number,
        } in &port.frontends
        {
            let serving = Arc::clone(&serving);
            match address {
                Some(address) => {
                    self.frontends.insert((address, number).into(), serving);
                }
                None => {
                    debug_assert_eq!(kind, FrontendKind::NodePort);
                    let key = (port.key.family, number);
                    self.node_ports.insert(key, serving);
                }
            }
        }
    }

    /// The families that have a frontend.
    #[must_use]
    pub fn families(&self) -> BTreeSet<Family> {
        let of_addresses = self.frontends.keys().map(|at| Family::of(at.ip()));
        let of_ports = self.node_ports.keys().map(|(family, _)| *family);
        of_addresses.chain(of_ports).collect()
    }

    #[must_use]
    pub fn is_stale(&self, flow: &Flow) -> bool {
        let to = flow.original.destination;
        let of_frontend = self.frontends.get(&to);
        let of_node_port = self.node_ports.get(&(Family::of(to.ip()), to.port()));
        let mut sets = of_frontend.into_iter().chain(of_node_port);
        sets.any(|serving| !serving.contains(&flow.reply.source))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Tuple;
    use super::*;
    use crate::policy::{Algorithm, Backend, FULL_WEIGHT, ServicePortKey};

    fn at(text: &str) -> SocketAddr {
        text.parse().expect("an address with a port")
    }

    fn port(
        family: Family,
        protocol: Protocol,
        frontends: &[(FrontendKind, &str)],
        backends: &[(&str, bool)],
    ) -> ServicePort {
        let frontend = |(kind, text): &(FrontendKind, &str)| {
            let (address, port) = text.rsplit_once(':').expect("a port");
            Frontend {
                kind: *kind,
                address: (address != "*").then(|| at(text).ip()),
                port: port.parse().expect("a port"),
            }
        };
        let backend = |(address, serving): &(&str, bool)| Backend {
            address: at(address),
            node: None,
            zone: None,
            weight: 1,
            tenths: FULL_WEIGHT,
            internal: *serving,
            external: *serving,
            outside: false,
            watched: false,
            serving: *serving,
        };
        ServicePort {
            key: ServicePortKey {
                namespace: "test".into(),
                name: "cleanup-test".into(),
                port: "test-udp".into(),
                protocol,
                family,
            },
            created: None,
            algorithm: Algorithm::Random,
            affinity_seconds: None,
            slow_start: None,
            spill_over: None,
            drain: None,
            external_local: false,
            source_ranges: Arc::default(),
            frontends: frontends.iter().map(frontend).collect(),
            backends: backends.iter().map(backend).collect(),
        }
    }

    fn flow(to: &str, answers: &str) -> Flow {
        let client = at(if to.starts_with('[') {
            "[fd00::9]:999"
        } else {
            "10.0.0.9:999"
        });
        let tuple = |source, destination| Tuple {
            source,
            destination,
            zone: None,
        };
        Flow {
            original: tuple(client, at(to)),
            reply: tuple(at(answers), client),
            zone: None,
            id: 1,
        }
    }

    use FrontendKind::{ClusterIp, ExternalIp, LoadBalancer, NodePort};

    const ADDRESSES: [&str; 3] = ["172.30.1.1", "192.168.99.100", "1.2.3.4"];
    const SERVING: &str = "10.240.0.4:9090";

    /// The Service of `TestCleanStaleEntries` in kube-proxy's cleanup_test.go.
    fn service(protocol: Protocol, node_port: &str) -> ServicePort {
        let frontends = [
            (ClusterIp, "172.30.1.1:8000"),
            (ExternalIp, "192.168.99.100:8000"),
            (LoadBalancer, "1.2.3.4:8000"),
            (NodePort, node_port),
        ];
        let backends = [(SERVING, true), ("10.240.1.5:9090", false)];
        port(Family::Ipv4, protocol, &frontends, &backends)
    }

    /// The cases of that test: a flow that was not translated, a serving endpoint, its former port, one that does not serve,
    /// and one that is gone.
    #[test]
    fn flows_to_a_frontend_must_lead_to_a_serving_endpoint() {
        let rule = StaleRule::new(&[service(Protocol::Udp, "*:32000")]);
        for to in ADDRESSES {
            let leads =
                |port: u16, answers: &str| rule.is_stale(&flow(&format!("{to}:{port}"), answers));
            assert!(!leads(8000, SERVING));
            for answers in ["10.240.0.4:8080", "10.240.1.5:9090", "10.240.2.6:9090"] {
                assert!(leads(8000, answers), "{to} {answers}");
                assert!(!leads(3000, answers), "another port of the address");
            }
            assert!(leads(8000, &format!("{to}:8000")));
            assert!(!leads(3000, &format!("{to}:3000")));
        }
        for (answers, is_stale) in [
            (SERVING, false),
            ("10.240.1.5:9090", true),
            ("10.240.2.6:9090", true),
        ] {
            let to_node = flow("192.0.2.7:32000", answers);
            assert_eq!(rule.is_stale(&to_node), is_stale, "{answers}");
        }
        assert!(!rule.is_stale(&flow("[fd00::1]:32000", "[fd00::2]:9090")));
    }

    #[test]
    fn only_udp_counts() {
        let rule = StaleRule::new(&[service(Protocol::Tcp, "*:32000")]);
        assert!(!rule.is_stale(&flow("172.30.1.1:8000", "10.240.2.6:9090")));
        assert_eq!(rule.families(), BTreeSet::new());
    }

    /// `TestServiceWithoutEndpoints` there.
    #[test]
    fn a_service_without_a_serving_endpoint_keeps_its_flows() {
        let frontends = [(ClusterIp, "172.30.1.1:8000"), (NodePort, "*:32000")];
        for backends in [&[][..], &[("10.240.1.5:9090", false)]] {
            let port = port(Family::Ipv4, Protocol::Udp, &frontends, backends);
            let rule = StaleRule::new(&[port]);
            assert!(!rule.is_stale(&flow("172.30.1.1:8000", "10.240.2.6:9090")));
            assert!(!rule.is_stale(&flow("192.0.2.7:32000", "10.240.2.6:9090")));
        }
    }

    #[test]
    fn a_node_port_with_addresses_covers_no_other_machine() {
        let rule = StaleRule::new(&[service(Protocol::Udp, "192.0.2.7:32000")]);
        assert!(rule.is_stale(&flow("192.0.2.7:32000", "10.240.2.6:9090")));
        assert!(!rule.is_stale(&flow("198.51.100.1:32000", "198.51.100.1:32000")));
    }

    #[test]
    fn families_are_apart() {
        let six = port(
            Family::Ipv6,
            Protocol::Udp,
            &[(ClusterIp, "[fd00::1]:53"), (NodePort, "*:32000")],
            &[("[fd00::2]:53", true)],
        );
        let rule = StaleRule::new(&[service(Protocol::Udp, "*:32000"), six]);
        assert_eq!(
            rule.families(),
            BTreeSet::from([Family::Ipv4, Family::Ipv6])
        );
        assert!(!rule.is_stale(&flow("[fd00::1]:53", "[fd00::2]:53")));
        assert!(rule.is_stale(&flow("[fd00::1]:53", "[fd00::3]:53")));
        assert!(!rule.is_stale(&flow("[fd00::7]:32000", "[fd00::2]:53")));
        assert!(rule.is_stale(&flow("[fd00::7]:32000", "[fd00::3]:53")));
        assert!(!rule.is_stale(&flow("192.0.2.7:32000", SERVING)));
    }
}
