//! Checks the manifests in deploy/, and that kustomize and Helm deploy the same objects.

mod chart;
mod pods;
mod recipe;
mod rendered;
mod rights;
mod waiting;

use std::path::{Path, PathBuf};

use clap::Parser as _;
use lb_agent::cli::{Cli, Command};
use lb_agent::commands::probe::Probe;
use serde_json::{Value, json};

use crate::chart::Chart;
use crate::rendered::{Objects, kustomize};

fn pod_spec(objects: &Objects) -> Value {
    objects.get("DaemonSet", "socklb")["spec"]["template"]["spec"].clone()
}

fn agent(objects: &Objects) -> Value {
    pod_spec(objects)["containers"][0].clone()
}

fn words(value: &Value) -> Vec<String> {
    serde_json::from_value(value.clone()).expect("a list of texts")
}

/// The chart with its defaults, except for the given values.
fn chart(values: Value) -> Objects {
    Chart::read().render(values)
}

#[test]
fn the_chart_deploys_what_the_base_does() {
    let mut base = kustomize("base");
    // Helm creates the namespace, or it exists.
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

/// The base, and the arguments for packets.
#[test]
fn the_chart_replaces_kube_proxy_as_the_overlay_does() {
    let mut overlay = kustomize("without-kube-proxy");
    let args = words(&agent(&overlay)["args"]);
    let mut chart = chart(json!({
        "kubeProxyReplacement": true,
        // The placeholder of the overlay; docs/install.md replaces it by its index.
        "apiServer": args[4].strip_prefix("--api-server="),
        "unload": {"onDelete": false},
    }));
    assert_eq!(words(&agent(&chart)["args"]), args);
    for objects in [&mut overlay, &mut chart] {
        let spec = &mut objects.get_mut("DaemonSet", "socklb")["spec"]["template"]["spec"];
        let agent = spec["containers"][0].as_object_mut().expect("a map");
        agent.retain(|field, _| field != "args" && field != "imagePullPolicy");
    }
    let mut base = kustomize("base");
    let spec = &mut base.get_mut("DaemonSet", "socklb")["spec"]["template"]["spec"];
    let agent = spec["containers"][0].as_object_mut().expect("a map");
    agent.remove("args");
    // Neither a capability nor a mount more.
    assert_eq!(overlay, base);
    overlay.remove("Namespace", "socklb-system");
    assert_eq!(chart, overlay);
}

#[test]
fn packets_are_balanced_only_in_place_of_kube_proxy() {
    let run = |objects: &Objects| match parse(&words(&agent(objects)["args"])) {
        Command::Run(run) => run,
        other => panic!("it does not run: {other:?}"),
    };
    for objects in [kustomize("base"), chart(json!({}))] {
        assert!(!run(&objects).source.packets.is_on());
    }
    let replacing = chart(json!({
        "kubeProxyReplacement": true,
        "apiServer": "https://10.0.0.1:6443",
        "clusterCIDR": "10.244.0.0/16,fd00:244::/56",
        "healthz": "",
    }));
    let args = words(&agent(&replacing)["args"]);
    assert!(!args.iter().any(|arg| arg.starts_with("--healthz")));
    let replacing = run(&replacing).source.packets;
    assert!(replacing.is_on());
    let ranges = ["10.244.0.0/16", "fd00:244::/56"].map(|range| range.parse().expect("a range"));
    assert_eq!(replacing.cluster_cidr, ranges);

    // An address that resolves nowhere: an overlay that was applied unchanged sends the agent's token to nobody.
    let api_server = run(&kustomize("without-kube-proxy"));
    let api_server = api_server.source.access.api_server.expect("an API server");
    assert_eq!(api_server.host(), Some("api-server.invalid"));
}

/// Nothing else serves the ClusterIP of the Service `kubernetes` on a node that has just booted.
#[test]
#[should_panic = "kubeProxyReplacement: set apiServer"]
fn the_chart_does_not_replace_kube_proxy_without_the_api_servers_address() {
    chart(json!({"kubeProxyReplacement": true}));
}

#[test]
fn the_agent_has_every_flag_of_the_manifests() {
    let chart = chart(json!({
        "apiServer": "https://10.0.0.1:6443",
        "stepAsideAfter": "30m",
        "extraArgs": ["--default-algorithm=maglev"],
    }));
    let Command::Run(run) = parse(&words(&agent(&chart)["args"])) else {
        panic!("it does not run");
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
        assert!(matches!(parse(&words(&args)), Command::Unload(_)));
    }
}

/// The command and the socket of a container's exec probes.
fn probe(agent: &Value, name: &str) -> (Probe, PathBuf) {
    let command = words(&agent[name]["exec"]["command"]);
    let (binary, args) = command.split_first().expect("a command");
    assert_eq!(binary, "/lb-agent");
    match parse(args) {
        Command::Probe(probe) => (probe.what, probe.probe_socket),
        other => panic!("{other:?}"),
    }
}

/// The parsed arguments of a container.
fn parse(args: &[String]) -> Command {
    let words = ["lb-agent"]
        .into_iter()
        .chain(args.iter().map(String::as_str));
    let cli = Cli::try_parse_from(words);
    cli.unwrap_or_else(|error| panic!("{args:?}: {error}"))
        .command
}

#[test]
fn probes_ask_their_own_pods_process() {
    let base = kustomize("base");
    let (spec, agent) = (pod_spec(&base), agent(&base));
    let Command::Run(run) = parse(&words(&agent["args"])) else {
        panic!("it does not run");
    };
    let socket = run.probe_socket.expect("a socket for probes");
    assert_eq!(
        probe(&agent, "livenessProbe"),
        (Probe::Live, socket.clone())
    );
    assert_eq!(
        probe(&agent, "readinessProbe"),
        (Probe::Ready, socket.clone())
    );

    // No other pod has that path, whatever the node's network and files are.
    let folder = socket.parent().and_then(Path::to_str).expect("a folder");
    let named = |list: &Value, field: &str, value: &Value| -> Value {
        let list = list.as_array().expect("a list");
        let found = list.iter().find(|item| item[field] == *value);
        found.cloned().unwrap_or_else(|| panic!("no {value}"))
    };
    let mount = named(&agent["volumeMounts"], "mountPath", &json!(folder));
    let volume = named(&spec["volumes"], "name", &mount["name"]);
    assert!(volume["emptyDir"].is_object(), "{volume}");
}

/// If a version is ready for a moment and then fails, the failure must be noticed before its pod counts as available.
#[test]
fn a_pod_is_available_after_more_than_one_probe() {
    let base = kustomize("base");
    let daemon_set = &base.get("DaemonSet", "socklb")["spec"];
    let period = agent(&base)["readinessProbe"]["periodSeconds"].as_u64();
    let available_after = daemon_set["minReadySeconds"].as_u64();
    assert!(available_after > period.map(|period| 2 * period));
    // Unload pods have no probes, and nothing to wait for.
    let unload = kustomize("unload");
    assert_eq!(
        unload.get("DaemonSet", "socklb")["spec"]["minReadySeconds"],
        0
    );
}

/// With the host's network each declared port is a port of the host, so a second pod could not be scheduled beside the first.
#[test]
fn an_update_allows_two_agents_on_a_node() {
    let base = kustomize("base");
    assert_eq!(pod_spec(&base)["hostNetwork"], json!(true));
    assert_eq!(agent(&base).get("ports"), None);
}

#[test]
fn chart_values_reach_their_fields() {
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
fn a_node_selector_restricts_the_agent_to_labelled_nodes() {
    let selector = &pod_spec(&kustomize("labelled-nodes"))["nodeSelector"];
    let wanted = json!({"kubernetes.io/os": "linux", "socklb.dev/node": "true"});
    assert_eq!(*selector, wanted);
}

#[test]
fn unload_pods_run_where_the_agents_ran() {
    let unload = kustomize("unload");
    let (spec, agent) = (pod_spec(&unload), agent(&unload));
    let init = &spec["initContainers"][0];
    assert_eq!(init["image"], agent["image"], "one image is named once");
    // With the agent's probes no unload pod would ever be ready.
    assert_eq!(
        (agent.get("livenessProbe"), agent.get("readinessProbe")),
        (None, None)
    );
    // nftables is changed only with CAP_NET_ADMIN, in the host's network namespace.
    let capabilities = &init["securityContext"]["capabilities"]["add"];
    assert_eq!(*capabilities, json!(["BPF", "NET_ADMIN", "SYS_ADMIN"]));
    assert_eq!(spec["hostNetwork"], json!(true));
    let strategy = &unload.get("DaemonSet", "socklb")["spec"]["updateStrategy"];
    assert_eq!(strategy["rollingUpdate"]["maxUnavailable"], "100%");
    for volume in init["volumeMounts"].as_array().expect("a list") {
        let mounts = agent["volumeMounts"].as_array().expect("a list");
        assert!(mounts.contains(volume), "{volume}");
    }
}

#[test]
fn the_charts_hook_unloads_every_node_after_the_agents_are_gone() {
    let chart = chart(json!({
        "apiServer": "https://10.0.0.1:6443",
        "nodeSelector": {"socklb.dev/node": "true"},
    }));
    let weight = |kind: &str| {
        let annotations = &chart.get(kind, "socklb-unload")["metadata"]["annotations"];
        assert_eq!(annotations["helm.sh/hook"], "post-delete", "{kind}");
        let weight = annotations["helm.sh/hook-weight"].as_str().expect("a text");
        weight.parse::<i32>().expect("a number")
    };
    // Checks the service account, the target and the image of the waiting Job.
    assert!(weight("ServiceAccount") < weight("DaemonSet"));
    assert!(weight("Role") < weight("DaemonSet") && weight("RoleBinding") < weight("DaemonSet"));
    assert!(weight("DaemonSet") < weight("Job"));

    let hook = &chart.get("DaemonSet", "socklb-unload")["spec"]["template"]["spec"];
    let agents = pod_spec(&chart);
    for field in [
        "nodeSelector",
        "tolerations",
        "hostNetwork",
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
    // The Job uses the agent's image, runs as an unprivileged user, and may read only that DaemonSet.
    let job = &chart.get("Job", "socklb-unload")["spec"]["template"]["spec"];
    let waiting = &job["containers"][0];
    assert_eq!(waiting["image"], agent(&chart)["image"]);
    let Command::WaitForDaemonset(wait) = parse(&words(&waiting["args"])) else {
        panic!("it does not wait");
    };
    assert_eq!(wait.name, "socklb-unload");
    let api_server = wait.access.api_server.map(|server| server.to_string());
    assert_eq!(api_server.as_deref(), Some("https://10.0.0.1:6443/"));
    assert_eq!(waiting["securityContext"]["runAsNonRoot"], true);
    assert_eq!(job["serviceAccountName"], "socklb-unload");
    let rules = &chart.get("Role", "socklb-unload")["rules"];
    let one = json!([{
        "apiGroups": ["apps"], "resources": ["daemonsets"],
        "resourceNames": ["socklb-unload"], "verbs": ["get"],
    }]);
    assert_eq!(*rules, one);
}

#[test]
fn the_metrics_address_can_be_changed() {
    let chart = chart(json!({"http": "[::]:9100", "minReadySeconds": 60}));
    let Command::Run(run) = parse(&words(&agent(&chart)["args"])) else {
        panic!("it does not run");
    };
    assert_eq!(run.http.map(|http| http.port()), Some(9100));
    // Probes do not use that address.
    assert_eq!(
        probe(&agent(&chart), "readinessProbe"),
        probe(&agent(&kustomize("base")), "readinessProbe")
    );
    assert_eq!(
        chart.get("DaemonSet", "socklb")["spec"]["minReadySeconds"],
        60
    );
}

#[test]
fn every_chart_value_is_documented() {
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
