//! `lb-agent explain` with manifests, as users call it.

use std::fs;
use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;

const SHOP: &str = "\
apiVersion: v1
kind: Service
metadata:
  name: web
  namespace: shop
  annotations: {socklb.dev/slow-start: 30s, socklb.dev/drain: 1m, socklb.dev/outlier-detection: 'true'}
spec:
  clusterIP: 10.96.0.10
  ports: [{name: http, port: 80}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints:
- {addresses: [10.1.0.1], nodeName: n1, zone: z1}
- {addresses: [10.1.0.2], nodeName: n2, conditions: {ready: false}}
---
apiVersion: v1
kind: Service
metadata: {name: db}
spec: {clusterIP: 10.96.0.11, ports: [{port: 5432}]}
";

fn explain(args: &[&str]) -> Output {
    let folder = TempDir::new().expect("a folder");
    fs::write(folder.path().join("shop.yaml"), SHOP).expect("written");
    Command::new(env!("CARGO_BIN_EXE_lb-agent"))
        .args(["explain", "--node-name", "n1"])
        .args(args)
        .arg("--manifests")
        .arg(folder.path())
        .env_remove("NODE_NAME")
        .output()
        .expect("the agent runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn the_exit_status_says_whether_a_connect_is_refused() {
    for (target, code) in [
        ("10.96.0.10:80", 0),
        ("shop/web", 0),
        ("198.51.100.1:80", 0),
        ("10.96.0.11:5432", 1),
        ("db", 1),
        ("10.96.0.10:443", 1),
        ("shop/typo", 2),
        ("shop/web:99", 2),
        ("10.96.0.10", 2),
    ] {
        let output = explain(&[target]);
        assert_eq!(output.status.code(), Some(code), "{target}");
        assert_eq!(output.stderr.is_empty(), target != "10.96.0.10", "{target}");
    }
    let nowhere = explain(&["db", "/nowhere"]);
    assert_eq!(nowhere.status.code(), Some(2));
    let no_agent = Command::new(env!("CARGO_BIN_EXE_lb-agent"))
        .args(["explain", "db", "--socket", "/nowhere/agent.sock"])
        .output()
        .expect("it runs");
    assert_eq!(no_agent.status.code(), Some(2));
    assert!(text(&no_agent.stderr).contains("/nowhere/agent.sock"));
}

#[test]
fn json_has_every_endpoint_with_its_reason() {
    let output = explain(&["10.96.0.10:80", "-o", "json"]);
    let said: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(said["verdict"]["outcome"], "balanced");
    let port = &said["servicePorts"][0];
    assert_eq!(port["frontends"][0]["kind"], "ClusterIP");
    assert_eq!(
        (
            &port["slowStartSeconds"],
            &port["drainSeconds"],
            &port["outlierDetection"]
        ),
        (&json!(30), &json!(60), &json!(true))
    );
    let expected = json!([
        {
            "slice": "web-1", "address": "10.1.0.1:8080", "node": "n1", "zone": "z1", "ready": true, "serving": true,
            "terminating": false, "chosen": true, "reason": null, "message": null,
        },
        {
            "slice": "web-1", "address": "10.1.0.2:8080", "node": "n2", "zone": null, "ready": false, "serving": true,
            "terminating": false, "chosen": false, "reason": "NotReady", "message": "not ready",
        },
    ]);
    assert_eq!(port["views"][0]["endpoints"], expected);
    let yaml = explain(&["10.96.0.10:80", "-o", "yaml"]);
    let yaml: Value = serde_saphyr::from_str(&text(&yaml.stdout)).expect("YAML");
    assert_eq!(yaml, said);
}

#[test]
fn the_last_line_is_the_verdict() {
    for target in ["10.96.0.10:80", "db", "shop/web:http", "198.51.100.1:80"] {
        let output = explain(&[target, "-o", "json"]);
        let said: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let shown = text(&explain(&[target]).stdout);
        assert_eq!(shown.lines().last(), said["verdict"]["message"].as_str());
    }
}
