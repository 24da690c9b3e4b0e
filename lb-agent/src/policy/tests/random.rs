//! Random objects, few enough of each kind that they get in each other's way.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Value, json};

/// Objects by kind, namespace and name.
pub type Objects = BTreeMap<(String, String, String), Value>;

pub fn objects() -> impl Strategy<Value = Objects> {
    prop::collection::vec(object(), 1..12)
        .prop_map(|objects| objects.into_iter().map(|o| (key(&o), o)).collect())
}

/// As the objects of [`Objects`] are kept.
pub fn key(object: &Value) -> (String, String, String) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let metadata = &object["metadata"];
    (
        text(&object["kind"]),
        text(&metadata["namespace"]),
        text(&metadata["name"]),
    )
}

/// A Service, an EndpointSlice or a Node; null where something is not said.
pub fn object() -> impl Strategy<Value = Value> {
    prop_oneof![4 => service(), 6 => slice(), 1 => node()]
}

fn service() -> impl Strategy<Value = Value> {
    let metadata = (
        names(&["web", "api"]),
        one_of(json!([
            null,
            null,
            "2024-01-01T00:00:00Z",
            "2025-01-01T00:00:00Z"
        ])),
        one_of(json!([
            null, null, null, null,
            {"service.kubernetes.io/service-proxy-name": ""},
            {"service.kubernetes.io/service-proxy-name": "socklb"},
            {"service.kubernetes.io/headless": ""},
        ])),
        one_of(json!([null, null, {"socklb.dev/ignore": "false"}, {"socklb.dev/ignore": "true"}])),
    );
    let ips = one_of(json!([
        ["10.96.0.1", null, null],
        ["10.96.0.1", ["10.96.0.1"], ["IPv4"]],
        ["10.96.0.2", ["10.96.0.2", "fd00::1"], ["IPv4", "IPv6"]],
        ["fd00::1", ["fd00::1", "10.96.0.2"], ["IPv6", "IPv4"]],
        [null, ["10.96.0.1", "fd00::2"], null],
        ["", ["fd00::2"], null],
        ["10.96.0.1", ["10.96.0.1", "10.96.0.2"], null],
        ["10.96.0.1", ["10.96.0.1", "fd00::2"], ["IPv6", "IPv6"]],
        ["010.96.0.1", null, ["IPv4"]],
        ["None", ["None"], null],
        ["", null, null],
        [null, null, null],
        ["127.0.0.1", null, null],
    ]));
    let policies = (
        one_of(json!([
            null,
            "ClusterIP",
            "NodePort",
            "LoadBalancer",
            "ExternalName"
        ])),
        one_of(json!([null, "Cluster", "Local", "local"])),
        one_of(json!([null, "Cluster", "Local"])),
        one_of(json!([null, "None", "ClientIP", "clientip"])),
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
        one_of(json!([null, "", "a", "a", "b"])),
        one_of(json!([null, "TCP", "TCP", "UDP", "SCTP", "tcp"])),
        one_of(json!([80, 80, 80, 81, 0, null, 65_536])),
        one_of(json!([null, 0, 30_080, 30_081, -1, 70_000])),
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
    let service = one_of(json!(["web", "web", "web", "api", "api", null, ""]));
    let headless = one_of(json!([null, null, null, null, null, ""]));
    let address_type = one_of(json!(["IPv4", "IPv4", "IPv4", "IPv6", "IPv6", "FQDN"]));
    let port = (
        one_of(json!([null, "", "a", "a", "b"])),
        one_of(json!([null, "TCP", "TCP", "UDP", "SCTP"])),
        one_of(json!([8080, 8080, 8080, 8081, 0, null])),
    );
    let port = port.prop_map(
        |(name, protocol, port)| json!({"name": name, "protocol": protocol, "port": port}),
    );
    (
        names(&["s1", "s2", "s3"]),
        service,
        headless,
        address_type,
        prop::collection::vec(port, 0..4),
        prop::collection::vec(endpoint(), 0..5),
    )
        .prop_map(|(names, service, headless, address_type, ports, endpoints)| {
            json!({
                "kind": "EndpointSlice",
                "metadata": {
                    "namespace": names.0, "name": names.1,
                    "labels": {"kubernetes.io/service-name": service, "service.kubernetes.io/headless": headless},
                },
                "addressType": address_type, "ports": ports, "endpoints": endpoints,
            })
        })
}

fn endpoint() -> impl Strategy<Value = Value> {
    let addresses = one_of(json!([
        ["10.1.0.1"],
        ["10.1.0.2"],
        ["10.1.0.3", "10.1.0.9"],
        ["010.1.0.2"],
        ["fd00:1::1"],
        ["fd00:1::2"],
        ["fd00:1:0::2"],
        [],
        null,
        ["x"],
        ["127.0.0.1"],
    ]));
    let condition = || one_of(json!([null, true, false]));
    let conditions = (condition(), condition(), condition()).prop_map(
        |(ready, serving, terminating)| json!({"ready": ready, "serving": serving, "terminating": terminating}),
    );
    let conditions = prop_oneof![Just(Value::Null), Just(json!({})), conditions];
    let hints = (
        some_of(json!([{"name": "n1"}, {"name": "n2"}])),
        some_of(json!([{"name": "z1"}, {"name": "z2"}])),
    );
    // Mostly all or nothing, so that hints take effect.
    let hints = prop_oneof![
        2 => Just(Value::Null),
        3 => hints.prop_map(|(nodes, zones)| json!({"forNodes": nodes, "forZones": zones})),
    ];
    (addresses, conditions, hints, one_of(json!([null, "n1", "n2"]))).prop_map(
        |(addresses, conditions, hints, node)| {
            json!({"addresses": addresses, "conditions": conditions, "hints": hints, "nodeName": node})
        },
    )
}

fn node() -> impl Strategy<Value = Value> {
    let zone = one_of(json!([null, "", "z1", "z1", "z2"]));
    (select(vec!["n1", "n1", "n1", "n2"]), zone).prop_map(|(name, zone)| {
        json!({"kind": "Node", "metadata": {"name": name, "labels": {"topology.kubernetes.io/zone": zone}}})
    })
}

/// A namespace and a name.
fn names(names: &[&'static str]) -> impl Strategy<Value = (&'static str, &'static str)> {
    let namespaces = vec!["default", "default", "shop"];
    (select(namespaces), select(names.to_vec()))
}

fn one_of(values: Value) -> impl Strategy<Value = Value> {
    let values: Vec<Value> = serde_json::from_value(values).expect("a list");
    select(values)
}

/// Some of them, in this order.
fn some_of(values: Value) -> impl Strategy<Value = Value> {
    let values: Vec<Value> = serde_json::from_value(values).expect("a list");
    let most = values.len();
    subsequence(values, 0..=most).prop_map(Value::Array)
}
