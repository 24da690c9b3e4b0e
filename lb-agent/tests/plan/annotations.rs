//! What the annotations of Services and EndpointSlices change in the plan.

use serde_json::{Value, json};

use super::{folder, plan, text};

#[test]
fn weights_other_than_1_are_shown() {
    const SLICE: &str = "\
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: NAME, labels: {kubernetes.io/service-name: web}, annotations: {socklb.dev/weight: 'WEIGHT'}}
addressType: IPv4
ports: [{port: 8080}]
endpoints: [{addresses: [ADDRESS]}]
";
    let mut yaml = "\
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {clusterIP: 10.96.0.10, ports: [{port: 80}]}
"
    .to_owned();
    for (name, weight, address) in [
        ("a", "1", "10.1.0.1"),
        ("b", "30", "10.1.0.2"),
        ("c", "0", "10.1.0.3"),
    ] {
        let slice = SLICE.replace("NAME", name).replace("WEIGHT", weight);
        yaml.push_str(&slice.replace("ADDRESS", address));
    }
    let folder = folder(&[("web.yaml", &yaml)]);
    let said: Value = serde_json::from_slice(&plan(&folder, &["-o", "json"]).stdout).expect("JSON");
    let backends = said["services"][0]["backends"].as_array().expect("a list");
    let weights: Vec<&Value> = backends.iter().map(|backend| &backend["weight"]).collect();
    assert_eq!(weights, [1, 30]);
    let table = text(&plan(&folder, &[]).stdout);
    assert!(
        table.contains("10.1.0.1:8080,10.1.0.2:8080 x30\n"),
        "{table}"
    );
}

#[test]
fn spill_over_is_shown() {
    let yaml = "\
apiVersion: v1
kind: Node
metadata: {name: n1, labels: {topology.kubernetes.io/zone: z1}}
---
apiVersion: v1
kind: Service
metadata: {name: web, annotations: {socklb.dev/spill-over: '1.4'}}
spec: {clusterIP: 10.96.0.10, ports: [{port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{port: 8080}]
endpoints:
- {addresses: [10.1.0.1], zone: z1, hints: {forZones: [{name: z1}]}}
- {addresses: [10.1.0.2], zone: z1, conditions: {ready: false}}
- {addresses: [10.1.0.3], zone: z2, hints: {forZones: [{name: z2}]}}
";
    let folder = folder(&[("web.yaml", yaml)]);
    let said: Value = serde_json::from_slice(&plan(&folder, &["-o", "json"]).stdout).expect("JSON");
    let view = &said["services"][0];
    assert_eq!(view["spillOverPercent"], 30);
    let backends = view["backends"].as_array().expect("a list");
    let shown: Vec<_> = backends
        .iter()
        .map(|backend| (&backend["weight"], &backend["spillOver"]))
        .collect();
    assert_eq!(
        shown,
        [(&json!(7), &Value::Null), (&json!(3), &Value::Bool(true))]
    );
    let table = text(&plan(&folder, &[]).stdout);
    assert!(
        table.contains("10.1.0.1:8080 x7,10.1.0.3:8080 x3 (30% spill over)\n"),
        "{table}"
    );
}

/// Those of TCP alone are not shown for a UDP port.
#[test]
fn the_settings_that_a_service_has_are_shown() {
    let yaml = "\
apiVersion: v1
kind: Service
metadata:
  name: web
  annotations:
    socklb.dev/slow-start: 30s
    socklb.dev/drain: 2m
    socklb.dev/outlier-detection: 'true'
    socklb.dev/spill-over: '1.4'
spec:
  clusterIP: 10.96.0.10
  sessionAffinity: ClientIP
  sessionAffinityConfig: {clientIP: {timeoutSeconds: 60}}
  ports: [{name: tcp, port: 80}, {name: udp, port: 81, protocol: UDP}]
---
apiVersion: v1
kind: Service
metadata: {name: db, annotations: {socklb.dev/drain: 0s}}
spec: {clusterIP: 10.96.0.11, ports: [{port: 5432}]}
---
apiVersion: v1
kind: Service
metadata: {name: none, annotations: {socklb.dev/drain: none}}
spec: {clusterIP: 10.96.0.12, ports: [{port: 80}]}
";
    const KEYS: [&str; 5] = [
        "affinitySeconds",
        "slowStartSeconds",
        "drainSeconds",
        "outlierDetection",
        "spillOverFactor",
    ];
    let folder = folder(&[("web.yaml", yaml)]);
    let said: Value = serde_json::from_slice(&plan(&folder, &["-o", "json"]).stdout).expect("JSON");
    let services = said["services"].as_array().expect("a list").iter();
    let settings: Vec<Value> = services
        .map(|of| {
            let of = of.as_object().expect("an object");
            let settings = of.iter().filter(|(key, _)| KEYS.contains(&key.as_str()));
            settings.map(|(k, v)| (k.clone(), v.clone())).collect()
        })
        .collect();
    assert_eq!(
        settings,
        [
            json!({"affinitySeconds": null, "drainSeconds": 0}),
            json!({"affinitySeconds": null}),
            json!({
                "affinitySeconds": 60, "slowStartSeconds": 30, "drainSeconds": 120, "outlierDetection": true,
                "spillOverFactor": 1.4,
            }),
            json!({"affinitySeconds": 60, "slowStartSeconds": 30, "spillOverFactor": 1.4}),
        ]
    );

    let yaml = text(&plan(&folder, &["-o", "yaml"]).stdout);
    assert_eq!(
        yaml.matches("\n  spillOverFactor: 1.4\n").count(),
        2,
        "{yaml}"
    );
    assert_eq!(yaml.matches("\n  drainSeconds: 120\n").count(), 1, "{yaml}");

    let table = text(&plan(&folder, &[]).stdout);
    let rows: Vec<Vec<&str>> = table
        .lines()
        .map(|line| line.split_whitespace().skip(5).take(5).collect())
        .collect();
    assert_eq!(
        rows,
        [
            ["AFFINITY", "SLOW-START", "DRAIN", "OUTLIERS", "SPILL-OVER"],
            ["<none>", "<none>", "0s", "<none>", "<none>"],
            ["<none>", "<none>", "<none>", "<none>", "<none>"],
            ["60s", "30s", "120s", "ejected", "1.4"],
            ["60s", "30s", "<none>", "<none>", "1.4"],
        ],
        "{table}"
    );
}
