//! Random objects, few enough of each kind to conflict often.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Value, json};

/// Objects by kind, namespace and name.
pub type Objects = BTreeMap<(String, String, String), Value>;

pub fn objects() -> impl Strategy<Value = Objects> {
    let services = prop::collection::vec(service(), 1..4);
    let slices = prop::collection::vec(slice(), 1..5);
    (services, slices, node()).prop_map(|(services, slices, node)| {
        let objects = services.into_iter().chain(slices).chain([node]);
        objects.map(|o| (key(&o), o)).collect()
    })
}

/// In the form in which [`Objects`] stores them.
pub fn key(object: &Value) -> (String, String, String) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let metadata = &object["metadata"];
    (
        text(&object["kind"]),
        text(&metadata["namespace"]),
        text(&metadata["name"]),
    )
}

/// A Service, an EndpointSlice or a Node; absent fields are null.
pub fn object() -> impl Strategy<Value = Value> {
    prop_oneof![3 => service(), 6 => slice(), 2 => node()]
}

fn service() -> impl Strategy<Value = Value> {
    let metadata = (
        names(&["web", "web", "api"]),
        one_of(json!([
            null,
            "2024-01-01T00:00:00Z",
            "2025-01-01T00:00:00Z"
        ])),
        mostly(
            json!([null, {}]),
            json!([
                {"service.kubernetes.io/service-proxy-name": ""},
                {"service.kubernetes.io/service-proxy-name": "socklb"},
                {"service.kubernetes.io/headless": ""},
            ]),
        ),
        mostly(
            json!([
                null,
                {"socklb.dev/ignore": "false"},
                {"socklb.dev/spill-over": "1"},
                {"socklb.dev/spill-over": "1.4"},
            ]),
            json!([{"socklb.dev/ignore": "true"}, {"socklb.dev/spill-over": "0.9"}]),
        ),
    );
    let ips = mostly(
        json!([
            ["10.96.0.1", null, null],
            ["10.96.0.1", ["10.96.0.1"], ["IPv4"]],
            ["10.96.0.2", ["10.96.0.2", "fd00::1"], ["IPv4", "IPv6"]],
            ["fd00::1", ["fd00::1", "10.96.0.2"], ["IPv6", "IPv4"]],
            [null, ["10.96.0.1", "fd00::2"], null],
            ["", ["fd00::2"], null],
        ]),
        json!([
            ["10.96.0.1", ["10.96.0.1", "10.96.0.2"], null],
            ["10.96.0.1", ["10.96.0.1", "fd00::2"], ["IPv6", "IPv6"]],
            ["010.96.0.1", null, ["IPv4"]],
            ["None", ["None"], null],
            ["", null, null],
            [null, null, null],
            ["127.0.0.1", null, null],
        ]),
    );
    let policies = (
        mostly(
            json!([null, "ClusterIP", "NodePort", "LoadBalancer"]),
            json!(["ExternalName"]),
        ),
        mostly(json!([null, "Cluster", "Local"]), json!(["local"])),
        one_of(json!([null, "Cluster", "Local"])),
        mostly(json!([null, "None", "ClientIP"]), json!(["clientip"])),
        one_of(
            json!([null, {}, {"clientIP": {"timeoutSeconds": 5}}, {"clientIP": {"timeoutSeconds": 86_401}}]),
        ),
    );
    let addresses = (
        some_of(json!([
            "192.0.2.1",
            "192.0.2.2",
            "2001:db8::1",
            "10.96.0.1",
            "web"
        ])),
        some_of(json!([
            " 10.0.0.0/8",
            "010.1.2.3/8",
            "192.0.2.128/25",
            "0.0.0.0/0",
            "fd00::/8 ",
            "::/0",
            "10.0.0.0/33"
        ])),
        some_of(json!([
            {"ip": "192.0.2.1"}, {"ip": "192.0.2.9", "ipMode": "VIP"}, {"ip": "192.0.2.8", "ipMode": "Proxy"},
            {"ip": "2001:db8::9"}, {"hostname": "a.example"}, {"ip": ""}, {"ip": "192.0.2.7", "ipMode": "vip"},
        ])),
    );
    let port = (
        port_name(),
        protocol(),
        mostly(json!([80, 81]), json!([0, null, 65_536])),
        mostly(json!([null, 0, 30_080, 30_081]), json!([-1, 70_000])),
    );
    let port = port.prop_map(|(name, protocol, port, node_port)| {
        json!({"name": name, "protocol": protocol, "port": port, "nodePort": node_port})
    });
    let ports = prop::collection::vec(port, 0..4);
    (metadata, ips, policies, addresses, ports).prop_map(
        |((names, created, labels, annotations), ips, policies, addresses, ports)| {
            json!({
                "kind": "Service",
                "metadata": {
                    "namespace": names.0, "name": names.1, "creationTimestamp": created,
                    "labels": labels, "annotations": annotations,
                },
                "spec": {
                    "clusterIP": ips[0], "clusterIPs": ips[1], "ipFamilies": ips[2],
                    "type": policies.0, "internalTrafficPolicy": policies.1, "externalTrafficPolicy": policies.2,
                    "sessionAffinity": policies.3, "sessionAffinityConfig": policies.4,
                    "externalIPs": addresses.0, "loadBalancerSourceRanges": addresses.1, "ports": ports,
                },
                "status": {"loadBalancer": {"ingress": addresses.2}},
            })
        },
    )
}

fn slice() -> impl Strategy<Value = Value> {
    let port = (
        port_name(),
        protocol(),
        mostly(json!([8080, 8080, 8081]), json!([0, null])),
    );
    let port = port.prop_map(
        |(name, protocol, port)| json!({"name": name, "protocol": protocol, "port": port}),
    );
    let endpoints = prop_oneof![
        4 => prop::collection::vec(endpoint(&V4_ENDPOINTS), 0..6).prop_map(|e| ("IPv4", e)),
        2 => prop::collection::vec(endpoint(&V6_ENDPOINTS), 0..6).prop_map(|e| ("IPv6", e)),
        1 => prop::collection::vec(endpoint(&V4_ENDPOINTS), 1..3).prop_map(|e| ("FQDN", e)),
    ];
    (
        names(&["s1", "s2", "s3"]),
        mostly(json!(["web", "web", "api"]), json!([null, ""])),
        mostly(
            json!([{}]),
            json!([
                {"service.kubernetes.io/headless": ""},
                {"service.kubernetes.io/headless": null},
            ]),
        ),
        weights(),
        prop::collection::vec(port, 0..4),
        endpoints,
    )
        .prop_map(
            |(names, service, mut labels, annotations, ports, (address_type, endpoints))| {
                labels["kubernetes.io/service-name"] = service;
                json!({
                    "kind": "EndpointSlice",
                    "metadata": {
                        "namespace": names.0, "name": names.1, "labels": labels, "annotations": annotations,
                    },
                    "addressType": address_type, "ports": ports, "endpoints": endpoints,
                })
            },
        )
}

/// Annotations of a slice. Usually there is none.
fn weights() -> impl Strategy<Value = Value> {
    let ours = json!([
        "0", "0", "1", "3", "007", "1000", "1001", "-1", "+1", "", null
    ]);
    let ours = one_of(ours).prop_map(|weight| json!({"socklb.dev/weight": weight}));
    let ciliums = json!(["0", "50", "65535", "65536", "1.5"]);
    let ciliums = one_of(ciliums).prop_map(|weight| json!({"service.cilium.io/weight": weight}));
    let both = json!({"socklb.dev/weight": "2", "service.cilium.io/weight": "0"});
    prop_oneof![6 => Just(Value::Null), 3 => ours, 1 => ciliums, 1 => Just(both)]
}

const V4_ENDPOINTS: [&str; 3] = ["10.1.0.1", "10.1.0.2", "010.1.0.3"];
const V6_ENDPOINTS: [&str; 3] = ["fd00:1::1", "fd00:1::2", "fd00:1:0::3"];

fn endpoint(addresses: &[&str; 3]) -> impl Strategy<Value = Value> {
    let [a, b, c] = addresses;
    let addresses = mostly(
        json!([[a], [b, "10.1.0.9"], [c]]),
        json!([[], null, ["x"], ["127.0.0.1"], ["10.1.0.4"], ["fd00:1::4"]]),
    );
    // Often no endpoint is ready, so that the other conditions matter.
    let conditions = (
        one_of(json!([null, true, false, false, false])),
        one_of(json!([null, true, false])),
        one_of(json!([null, true, true, false])),
    );
    let conditions = conditions.prop_map(|(ready, serving, terminating)| {
        json!({"ready": ready, "serving": serving, "terminating": terminating})
    });
    let conditions = prop_oneof![1 => Just(Value::Null), 1 => Just(json!({})), 8 => conditions];
    // Usually some of each kind, so that they take effect.
    let hints = (
        mostly(
            json!([[{"name": "n1"}], [{"name": "n2"}], [{"name": "n2"}, {"name": "n1"}]]),
            json!([[], null]),
        ),
        mostly(
            json!([[{"name": "z1"}], [{"name": "z2"}], [{"name": "z2"}, {"name": "z1"}]]),
            json!([[], null]),
        ),
    );
    let hints = hints.prop_map(|(nodes, zones)| json!({"forNodes": nodes, "forZones": zones}));
    let zones = hints_of_zones();
    let hints = prop_oneof![1 => Just(Value::Null), 3 => hints, 3 => zones];
    let place = (
        one_of(json!([null, "n1", "n2"])),
        one_of(json!([null, "z1", "z2"])),
    );
    (addresses, conditions, hints, place).prop_map(
        |(addresses, conditions, hints, (node, zone))| {
            json!({
                "addresses": addresses, "conditions": conditions, "hints": hints, "nodeName": node, "zone": zone,
            })
        },
    )
}

fn hints_of_zones() -> impl Strategy<Value = Value> {
    let zones = one_of(json!(["z1", "z2", ""]));
    zones.prop_map(|zone| json!({"forZones": [{"name": zone}]}))
}

fn node() -> impl Strategy<Value = Value> {
    let zone = one_of(json!([null, "", "z1", "z1", "z2"]));
    (select(vec!["n1", "n1", "n1", "n2"]), zone).prop_map(|(name, zone)| {
        json!({"kind": "Node", "metadata": {"name": name, "labels": {"topology.kubernetes.io/zone": zone}}})
    })
}

fn port_name() -> impl Strategy<Value = Value> {
    one_of(json!([null, "", "", "a", "b"]))
}

fn protocol() -> impl Strategy<Value = Value> {
    mostly(json!([null, "TCP", "UDP"]), json!(["SCTP", "tcp"]))
}

/// A namespace and a name.
fn names(names: &[&'static str]) -> impl Strategy<Value = (&'static str, &'static str)> {
    let namespaces = vec!["default", "default", "default", "shop"];
    (select(namespaces), select(names.to_vec()))
}

fn one_of(values: Value) -> impl Strategy<Value = Value> {
    let values: Vec<Value> = serde_json::from_value(values).expect("a list");
    select(values)
}

/// One of the first values in nine of ten cases.
fn mostly(common: Value, odd: Value) -> impl Strategy<Value = Value> {
    prop_oneof![9 => one_of(common), 1 => one_of(odd)]
}

/// A random subset, in this order.
fn some_of(values: Value) -> impl Strategy<Value = Value> {
    let values: Vec<Value> = serde_json::from_value(values).expect("a list");
    let most = values.len();
    subsequence(values, 0..=most).prop_map(Value::Array)
}
