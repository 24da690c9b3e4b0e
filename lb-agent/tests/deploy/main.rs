//! What is in deploy/: that it is what it says, and that kustomize and Helm deploy the same.

mod chart;
mod rendered;

use std::collections::BTreeSet;

use clap::Parser as _;
use lb_agent::cli::{Cli, Command};
use serde_json::{Value, json};

use crate::chart::Chart;
use crate::rendered::{Objects, kustomize};

/// Which kinds the agent lists and watches, as its code says.
const WATCHED: &str = include_str!("../../src/source/kubernetes/object.rs");

fn pod_spec(objects: &Objects) -> Value {
    objects.get("DaemonSet", "socklb")["spec"]["template"]["spec"].clone()
}

fn agent(objects: &Objects) -> Value {
    pod_spec(objects)["containers"][0].clone()
}

fn words(value: &Value) -> Vec<String> {
    serde_json::from_value(value.clone()).expect("a list of texts")
}

/// The chart with its defaults, but for what is given.
fn chart(values: Value) -> Objects {
    Chart::read().render(values)
}

#[test]
fn the_chart_deploys_what_the_base_does() {
    let mut base = kustomize("base");
    // Helm makes the namespace, or finds it.
    base.remove("Namespace", "socklb-system");
    let mut chart = chart(json!({"unload": {"onDelete": false}}));
    let container = chart.get_mut("DaemonSet", "socklb");
    let container = &mut container["spec"]["template"]["spec"]["containers"][0];
    let policy = container
        .as_object_mut()
        .and_then(|c| c.remove("imagePullPolicy"));
    assert_eq!(policy, Some(json!("IfNotPresent")));
    assert_eq!(chart, base);
}

#[test]
fn the_agent_may_read_what_it_lists_and_do_nothing_else() {
    let base = kustomize("base");
    let role = base.get("ClusterRole", "socklb");
    let mut may = BTreeSet::new();
    for rule in role["rules"].as_array().expect("rules") {
        for group in words(&rule["apiGroups"]) {
            for resource in words(&rule["resources"]) {
                for verb in words(&rule["verbs"]) {
                    may.insert(format!("{verb} {resource}.{group}"));
                }
            }
        }
    }
    let constants = |name: &str| -> Vec<&str> {
        let start = format!("const {name}: &'static str = \"");
        let lines = WATCHED.lines().map(str::trim);
        let values = lines.filter_map(|line| line.strip_prefix(&start)?.strip_suffix("\";"));
        values.collect()
    };
    let (groups, plurals) = (constants("GROUP"), constants("PLURAL"));
    assert!(groups.len() == plurals.len() && plurals.contains(&"services"));
    let needed = groups
        .iter()
        .zip(plurals)
        .flat_map(|(group, plural)| {
            ["list", "watch"].map(|verb| format!("{verb} {plural}.{group}"))
        })
        .collect();
    assert_eq!(may, needed);
    let binding = base.get("ClusterRoleBinding", "socklb");
    assert_eq!(binding["roleRef"]["name"], "socklb");
    assert_eq!(binding["subjects"][0]["namespace"], "socklb-system");
    assert_eq!(pod_spec(&base)["serviceAccountName"], "socklb");
}

#[test]
fn the_agents_flags_are_flags_that_it_has() {
    let chart = chart(json!({
        "apiServer": "https://10.0.0.1:6443",
        "stepAsideAfter": "30m",
        "extraArgs": ["--default-algorithm=maglev"],
    }));
    let args = words(&agent(&chart)["args"]);
    let words = ["lb-agent"]
        .into_iter()
        .chain(args.iter().map(String::as_str));
    let cli = Cli::try_parse_from(words);
    let Ok(Command::Run(run)) = cli.map(|cli| cli.command) else {
        panic!("not taken: {args:?}");
    };
    assert!(run.source.manifests.is_empty() && run.source.access.api_server.is_some());
    assert_eq!(
        run.step_aside_after,
        Some(std::time::Duration::from_mins(30))
    );
    for args in [
        pod_spec(&kustomize("unload"))["initContainers"][0]["args"].clone(),
        agent(&kustomize("unload"))["args"].clone(),
    ] {
        let args = self::words(&args);
        let words = ["lb-agent"]
            .into_iter()
            .chain(args.iter().map(String::as_str));
        let cli = Cli::try_parse_from(words).map(|cli| cli.command);
        assert!(matches!(cli, Ok(Command::Unload(_))), "{args:?}");
    }
}

#[test]
fn probes_ask_where_the_agent_answers() {
    let agent = agent(&kustomize("base"));
    let args = words(&agent["args"]);
    let http = args.iter().find_map(|arg| arg.strip_prefix("--http="));
    for probe in ["livenessProbe", "readinessProbe"] {
        let get = &agent[probe]["httpGet"];
        let asked = format!(
            "{}:{}",
            get["host"].as_str().unwrap_or_default(),
            get["port"]
        );
        assert_eq!(Some(asked.as_str()), http, "{probe}");
    }
}

/// On the host's network each would be a port of the host, of which a node has one: no second pod while the first is there.
#[test]
fn two_agents_may_be_on_one_node_in_an_update() {
    let base = kustomize("base");
    assert_eq!(pod_spec(&base)["hostNetwork"], json!(true));
    assert_eq!(agent(&base).get("ports"), None);
}

#[test]
fn values_go_where_they_belong() {
    let chart = chart(json!({
        "apiServer": "https://10.0.0.1:6443",
        "sweep": false,
        "cgroup": "/sys/fs/cgroup/unified",
        "image": {"repository": "registry.example/lb-agent", "tag": "7"},
        "imagePullSecrets": [{"name": "registry"}],
        "nodeSelector": {"socklb.dev/node": "true"},
        "tolerations": [],
    }));
    let spec = pod_spec(&chart);
    let agent = agent(&chart);
    assert_eq!(agent["image"], "registry.example/lb-agent:7");
    assert_eq!(
        words(&agent["args"]).last().map(String::as_str),
        Some("--api-server=https://10.0.0.1:6443")
    );
    assert_eq!(
        agent["securityContext"]["capabilities"]["add"],
        json!(["BPF", "NET_ADMIN", "PERFMON"])
    );
    assert_eq!(
        spec["volumes"][1]["hostPath"]["path"],
        "/sys/fs/cgroup/unified"
    );
    assert_eq!(spec["imagePullSecrets"], json!([{"name": "registry"}]));
    assert_eq!(
        spec["nodeSelector"],
        json!({"kubernetes.io/os": "linux", "socklb.dev/node": "true"})
    );
    assert_eq!(spec.get("tolerations"), None);
}

#[test]
fn only_labelled_nodes_get_it_where_that_is_asked_for() {
    let selector = &pod_spec(&kustomize("labelled-nodes"))["nodeSelector"];
    let wanted = json!({"kubernetes.io/os": "linux", "socklb.dev/node": "true"});
    assert_eq!(*selector, wanted);
}

#[test]
fn unloading_pods_take_the_agents_place() {
    let unload = kustomize("unload");
    let (spec, agent) = (pod_spec(&unload), agent(&unload));
    let init = &spec["initContainers"][0];
    assert_eq!(init["image"], agent["image"], "one image is named once");
    // With the agent's probes no pod would ever be ready.
    assert_eq!(
        (agent.get("livenessProbe"), agent.get("readinessProbe")),
        (None, None)
    );
    let strategy = &unload.get("DaemonSet", "socklb")["spec"]["updateStrategy"];
    assert_eq!(strategy["rollingUpdate"]["maxUnavailable"], "100%");
    for volume in init["volumeMounts"].as_array().expect("a list") {
        let mounts = agent["volumeMounts"].as_array().expect("a list");
        assert!(mounts.contains(volume), "{volume}");
    }
}

#[test]
fn the_charts_hook_unloads_every_node_after_the_agents_are_gone() {
    let chart = chart(json!({"nodeSelector": {"socklb.dev/node": "true"}}));
    let weight = |kind: &str| {
        let annotations = &chart.get(kind, "socklb-unload")["metadata"]["annotations"];
        assert_eq!(annotations["helm.sh/hook"], "post-delete", "{kind}");
        let weight = annotations["helm.sh/hook-weight"].as_str().expect("a text");
        weight.parse::<i32>().expect("a number")
    };
    // Who may wait, what is waited for, who waits.
    assert!(weight("ServiceAccount") < weight("DaemonSet"));
    assert!(weight("Role") < weight("DaemonSet") && weight("RoleBinding") < weight("DaemonSet"));
    assert!(weight("DaemonSet") < weight("Job"));

    let hook = &chart.get("DaemonSet", "socklb-unload")["spec"]["template"]["spec"];
    let agents = pod_spec(&chart);
    for field in [
        "nodeSelector",
        "tolerations",
        "hostPID",
        "priorityClassName",
    ] {
        assert_eq!(hook[field], agents[field], "{field}");
    }
    let overlay = pod_spec(&kustomize("unload"));
    for field in ["args", "securityContext", "volumeMounts", "image"] {
        let of_overlay = &overlay["initContainers"][0][field];
        assert_eq!(hook["initContainers"][0][field], *of_overlay, "{field}");
    }
    let job = &chart.get("Job", "socklb-unload")["spec"]["template"]["spec"]["containers"][0];
    let args = words(&job["args"]).join(" ");
    assert_eq!(
        args,
        "rollout status daemonset/socklb-unload --namespace=socklb-system --timeout=5m"
    );
}

#[test]
fn every_value_of_the_chart_is_explained() {
    let explained = std::fs::read_to_string(rendered::deploy().join("../docs/install.md"));
    let explained = explained.expect("docs/install.md");
    for (name, value) in Chart::read().values().as_object().expect("a map") {
        let names: Vec<String> = match (name.as_str(), value.as_object()) {
            ("image" | "unload", Some(inner)) => {
                inner.keys().map(|key| format!("{name}.{key}")).collect()
            }
            _ => vec![name.clone()],
        };
        for name in names {
            assert!(explained.contains(&format!("`{name}`")), "{name}");
        }
    }
}
