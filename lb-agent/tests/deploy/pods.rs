//! An agent that selects pods.

use lb_agent::cli::Command;
use serde_json::json;

use crate::rendered::kustomize;
use crate::{agent, chart, parse, words};

/// The base, one argument, and the right to list pods and namespaces.
#[test]
fn the_chart_selects_pods_as_the_overlay_does() {
    let mut overlay = kustomize("labelled-namespaces");
    let flag = "--namespaces=socklb.dev/sockets=true";
    let mut chart = chart(json!({"podSelection": [flag], "unload": {"onDelete": false}}));
    let Command::Run(run) = parse(&words(&agent(&overlay)["args"])) else {
        panic!("it does not run");
    };
    let namespaces = run.clients.namespaces.map(|selector| selector.to_string());
    assert_eq!(namespaces.as_deref(), Some("socklb.dev/sockets in (true)"));
    overlay.remove("Namespace", "socklb-system");
    let spec = &mut chart.get_mut("DaemonSet", "socklb")["spec"]["template"]["spec"];
    let agent = spec["containers"][0].as_object_mut().expect("a map");
    agent.remove("imagePullPolicy");
    assert_eq!(chart, overlay);
}

/// The agent finds a pod by entering its network namespace.
#[test]
#[should_panic = "podSelection: set sweep"]
fn the_chart_does_not_select_pods_without_the_capabilities() {
    chart(json!({"podSelection": ["--pods=app=web"], "sweep": false}));
}
