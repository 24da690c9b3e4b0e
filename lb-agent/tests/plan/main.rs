//! `lb-agent plan` as users call it.

mod annotations;

use std::fs;
use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;

const SHOP: &str = "\
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  type: NodePort
  clusterIP: 10.96.0.10
  sessionAffinity: ClientIP
  internalTrafficPolicy: Local
  ports: [{name: http, port: 80, nodePort: 30080, targetPort: 8080}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints:
- {addresses: [10.1.0.1], nodeName: n1, zone: z1}
- {addresses: [10.1.0.2], nodeName: n2}
- {addresses: [10.1.0.3], nodeName: n3}
- {addresses: [10.1.0.4], nodeName: n4}
---
apiVersion: v1
kind: Service
metadata: {name: db}
spec: {clusterIP: 10.96.0.11, ports: [{port: 5432}]}
";

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = TempDir::new().expect("a folder");
    for (name, text) in files {
        fs::write(folder.path().join(name), text).expect("written");
    }
    folder
}

fn plan(folder: &TempDir, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_lb-agent"))
        .args(["plan", "--node-name", "n1", "--manifests"])
        .arg(folder.path())
        .args(args)
        .env_remove("NODE_NAME")
        .output()
        .expect("the agent runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn json_lists_every_view_in_order() {
    let output = plan(&folder(&[("shop.yaml", SHOP)]), &["-o", "json"]);
    assert!(output.status.success());
    assert_eq!(text(&output.stderr), "");
    let backend = |address: &str, node: &str, zone: Value| json!({"address": address, "port": 8080, "node": node, "zone": zone, "weight": 1});
    let local = backend("10.1.0.1", "n1", "z1".into());
    let all = json!([
        local,
        backend("10.1.0.2", "n2", Value::Null),
        backend("10.1.0.3", "n3", Value::Null),
        backend("10.1.0.4", "n4", Value::Null),
    ]);
    let view = |scope: &str, frontends: Value, backends: Value| {
        json!({
            "namespace": "shop", "name": "web", "port": "http", "protocol": "TCP", "family": "IPv4",
            "scope": scope, "algorithm": "random", "affinitySeconds": 10800,
            "frontends": frontends, "backends": backends,
        })
    };
    let expected = json!({
        "services": [
            {
                "namespace": "default", "name": "db", "port": "", "protocol": "TCP", "family": "IPv4",
                "scope": "all", "algorithm": "random", "affinitySeconds": null,
                "frontends": [{"kind": "ClusterIP", "address": "10.96.0.11", "port": 5432}], "backends": [],
            },
            view("external", json!([{"kind": "NodePort", "address": "*", "port": 30080}]), all),
            view("internal", json!([{"kind": "ClusterIP", "address": "10.96.0.10", "port": 80}]), json!([local])),
        ],
        "problems": [],
    });
    let said: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(said, expected);
}

#[test]
fn the_table_has_kubectls_format() {
    let output = plan(&folder(&[("shop.yaml", SHOP)]), &[]);
    assert_eq!(
        text(&output.stdout),
        "\
NAMESPACE   NAME   PORT      PROTOCOL   SCOPE      AFFINITY   FRONTENDS         BACKENDS
default     db     <unset>   TCP        all        <none>     10.96.0.11:5432   <none>
shop        web    http      TCP        external   10800s     *:30080           10.1.0.1:8080,10.1.0.2:8080,10.1.0.3:8080 + 1 more...
shop        web    http      TCP        internal   10800s     10.96.0.10:80     10.1.0.1:8080
"
    );
}

#[test]
fn with_the_packet_path_masquerading_and_source_ranges_are_shown() {
    const LB: &str = "\
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: LoadBalancer
  clusterIP: 10.96.0.10
  externalTrafficPolicy: Local
  loadBalancerSourceRanges: [198.51.100.0/24]
  ports: [{port: 80, nodePort: 30080}]
status: {loadBalancer: {ingress: [{ip: 203.0.113.1}]}}
";
    let folder = folder(&[("web.yaml", LB)]);
    let packets = [
        "--packet-path",
        "on",
        "--cluster-cidr",
        "10.244.0.0/16",
        "-o",
    ];
    let output = plan(&folder, &[&packets[..], &["json"]].concat());
    let said: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let views = said["services"].as_array().expect("a list").iter();
    let views: Vec<[&Value; 2]> = views.map(|of| [&of["scope"], &of["frontends"]]).collect();
    let cluster_ip = json!({"kind": "ClusterIP", "address": "10.96.0.10", "port": 80, "masquerade": "from-outside"});
    let node_port =
        json!({"kind": "NodePort", "address": "*", "port": 30080, "masquerade": "none"});
    let load_balancer = json!({
        "kind": "LoadBalancer", "address": "203.0.113.1", "port": 80, "masquerade": "none", "sourceRanges": ["198.51.100.0/24"],
    });
    let others = json!([node_port, load_balancer]);
    let all = json!([cluster_ip, node_port, load_balancer]);
    let expected = [[&json!("all"), &all], [&json!("outside"), &others]];
    assert_eq!(views, expected);

    let table = text(&plan(&folder, &[&packets[..], &["table"]].concat()).stdout);
    let last = |line: &str| line.split_whitespace().next_back().map(str::to_owned);
    let column: Vec<String> = table.lines().filter_map(last).collect();
    assert_eq!(column, ["MASQUERADE", "from-outside,none", "none"]);
}

#[test]
fn problems_are_reported_and_do_not_fail_the_plan() {
    let folder = folder(&[
        ("shop.yaml", SHOP),
        ("bad.yaml", "apiVersion: v1\nkind: Service\nmetadata: [\n"),
        (
            "orphan.yaml",
            "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: a, labels: {kubernetes.io/service-name: gone}}\naddressType: IPv4\nendpoints: []\n",
        ),
    ]);
    let output = plan(&folder, &["-o", "json"]);
    assert!(output.status.success());
    let said: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let problems = said["problems"].as_array().expect("a list");
    assert_eq!(problems.len(), 2, "{problems:#?}");
    assert!(
        problems[0]["object"]
            .as_str()
            .expect("text")
            .ends_with("bad.yaml")
    );
    assert_eq!(problems[1]["object"], "EndpointSlice default/a");
    assert_eq!(said["services"].as_array().map(Vec::len), Some(3));

    let output = plan(&folder, &[]);
    assert!(output.status.success());
    let warnings = text(&output.stderr);
    assert_eq!(warnings.lines().count(), 2, "{warnings}");
    assert!(
        warnings.contains("warning: EndpointSlice default/a: there is no Service default/gone")
    );
}

/// Input that kubectl accepts silently is served, with a warning for each mistake.
#[test]
fn duplicate_and_badly_encoded_objects_are_served() {
    let twice = SHOP.replace(
        "clusterIP: 10.96.0.11,",
        "clusterIP: 10.96.0.9, clusterIP: 10.96.0.11,",
    );
    let bytes = [b"# caf\xe9\n", twice.as_bytes(), b"---\n", SHOP.as_bytes()].concat();
    let folder = folder(&[]);
    fs::write(folder.path().join("shop.json"), bytes).expect("written");
    let output = plan(&folder, &["-o", "json"]);
    let said: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let services = said["services"].as_array().expect("a list");
    assert_eq!(services.len(), 3, "{said:#}");
    assert_eq!(services[0]["frontends"][0]["address"], "10.96.0.11");
    let problems = said["problems"].as_array().expect("a list");
    let mut objects: Vec<_> = problems
        .iter()
        .filter_map(|p| p["object"].as_str())
        .collect();
    objects.sort_unstable();
    let file = folder.path().join("shop.json");
    let file = file.to_str().expect("text");
    let expected = [
        file,
        "EndpointSlice shop/web-1",
        "Service default/db",
        "Service default/db",
        "Service shop/web",
    ];
    assert_eq!(objects, expected, "{said:#}");
}

#[test]
fn a_path_that_cannot_be_read_fails() {
    let output = plan(&folder(&[]), &["/nowhere/web.yaml"]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains("/nowhere/web.yaml"), "{said}");
    let cause = "No such file or directory";
    assert_eq!(said.matches(cause).count(), 1, "{said}");
}

#[test]
fn an_empty_folder_has_an_empty_plan() {
    let output = plan(&folder(&[]), &[]);
    assert!(output.status.success());
    assert_eq!(text(&output.stderr), "No Services to balance.\n");
    let output = plan(&folder(&[]), &["-o", "json"]);
    let said: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(said, json!({"services": [], "problems": []}));
}

#[test]
fn a_wrong_command_gets_a_hint() {
    let agent = |args: &[&str], code| {
        let output = Command::new(env!("CARGO_BIN_EXE_lb-agent"))
            .args(args)
            .env_remove("KUBERNETES_SERVICE_HOST")
            .output();
        let output = output.expect("the agent runs");
        assert_eq!(output.status.code(), Some(code));
        text(&output.stderr)
    };
    assert!(agent(&["statu"], 2).contains("a similar subcommand exists: 'status'"));
    assert!(
        agent(&["plan", "--manifests", "/tmp", "-o", "wide"], 2)
            .contains("[possible values: table, json, yaml]")
    );
    let both = ["plan", "--manifests", "/tmp", "--kubeconfig", "/tmp/config"];
    assert!(agent(&both, 2).contains("cannot be used with"));
    let nothing = agent(&["plan"], 1);
    assert!(nothing.contains("name manifests with --manifests, or a cluster with --kubeconfig"));
    let cause = std::env::VarError::NotPresent.to_string();
    assert_eq!(nothing.matches(&cause).count(), 1, "{nothing}");
    let nowhere = ["plan", "--kubeconfig", "/nowhere/config"];
    assert!(agent(&nowhere, 1).contains("--kubeconfig /nowhere/config"));
    let mistyped = ["plan", "--api-server", "192.0.2.1:6443"];
    assert!(agent(&mistyped, 2).contains("write a URL like https://192.0.2.1:6443"));
}

#[test]
fn a_named_pipe_is_read() {
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    std::io::Write::write_all(&mut writer, SHOP.as_bytes()).expect("room");
    drop(writer);
    let output = Command::new(env!("CARGO_BIN_EXE_lb-agent"))
        .args(["plan", "--node-name", "n1", "--manifests", "/dev/stdin"])
        .stdin(reader)
        .output()
        .expect("the agent runs");
    assert_eq!(text(&output.stderr), "");
    assert_eq!(text(&output.stdout).lines().count(), 4);
}
