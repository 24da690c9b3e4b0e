//! Pods and namespaces from an API server.

use anyhow::{Result, ensure};
use lb_testbed::api_server::{Fault, Kind, Verb};
use lb_testbed::sandboxed;
use serde_json::{Value, json};

use super::scene::{Driver, KubePod, clients, is_served};
use crate::kubernetes::{Cluster, Web};
use crate::support::eventually;

fn namespace(labels: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default", "labels": labels}})
}

fn wait_for(cluster: &Cluster, served: usize, not_served: usize) -> Result<()> {
    eventually(&format!("{served} are served"), || {
        let of = clients(&cluster.agent)?;
        Ok((of.served, of.not_served) == (served, not_served))
    })
}

#[test]
fn pods_and_namespaces_are_watched_only_with_the_flags_that_need_them() {
    sandboxed(|sandbox| {
        let web = Web::new(sandbox, 1, 1)?;
        let server = &web.cluster.server;
        // What the usual ClusterRole does not allow.
        server.fail(Fault::answer(403).with(Kind::Pod));
        server.fail(Fault::answer(403).with(Kind::Namespace));
        let watches = |kind| server.requests(kind, Verb::Watch) + server.requests(kind, Verb::List);
        let mut running = web.cluster.agent.start()?;
        assert_eq!((watches(Kind::Pod), watches(Kind::Namespace)), (0, 0));
        running.terminate()?;
        server.heal();

        let mut running = web.cluster.agent.clone().arg("--pods=app=web").start()?;
        assert_eq!((watches(Kind::Pod), watches(Kind::Namespace)), (1, 0));
        let asked = server
            .last_request(Kind::Pod, Verb::Watch)
            .unwrap_or_default();
        ensure!(
            asked.contains("fieldSelector=spec.nodeName%3Dnode-a"),
            "{asked}"
        );
        running.terminate()?;

        let agent = web.cluster.agent.clone().arg("--except-namespaces=mesh=on");
        let _running = agent.start()?;
        assert_eq!((watches(Kind::Pod), watches(Kind::Namespace)), (2, 1));
        Ok(())
    });
}

#[test]
fn a_label_of_a_namespace_switches_its_pods_over_and_back() {
    sandboxed(|sandbox| {
        let web = Web::new(sandbox, 1, 1)?;
        let server = &web.cluster.server;
        let pod = KubePod::start(sandbox, "client", 1, Driver::Systemd)?;
        server.apply(&pod.object(json!({}), json!({})))?;
        let mut elsewhere =
            super::scene::object("elsewhere", &super::scene::uid(2), json!({}), json!({}));
        elsewhere["spec"]["nodeName"] = json!("node-b");
        server.apply(&elsewhere)?;
        let agent = web
            .cluster
            .agent
            .clone()
            .arg("--namespaces=socklb.dev/sockets=true");
        let _running = agent.start()?;
        wait_for(&web.cluster, 0, 1)?;
        ensure!(!is_served(&pod.pod)?);
        for _ in 0..2 {
            server.apply(&namespace(json!({"socklb.dev/sockets": "true"})))?;
            wait_for(&web.cluster, 1, 0)?;
            ensure!(is_served(&pod.pod)?);
            server.apply(&namespace(json!({})))?;
            wait_for(&web.cluster, 0, 1)?;
            ensure!(!is_served(&pod.pod)?);
        }
        Ok(())
    });
}

/// Until the lists have arrived, an agent with another selection leaves the data path as it is.
#[test]
fn an_agent_with_another_selection_waits_for_its_server() {
    sandboxed(|sandbox| {
        let web = Web::new(sandbox, 1, 1)?;
        let server = &web.cluster.server;
        let pod = KubePod::start(sandbox, "client", 1, Driver::Systemd)?;
        server.apply(&pod.object(json!({"app": "web"}), json!({})))?;
        web.cluster.agent.start()?.kill()?;
        server.fail(Fault::answer(403).with(Kind::Pod));
        let mut running = web.cluster.agent.clone().arg("--pods=app=web").spawn()?;
        running.wait_for_event("pods.start_postponed")?;
        ensure!(is_served(&pod.pod)?);
        server.heal();
        running.wait_ready()?;
        ensure!(is_served(&pod.pod)?);
        wait_for(&web.cluster, 1, 0)
    });
}

/// As after a crash: the map is that of the last agent, whose selection is the same.
#[test]
fn an_agent_with_the_same_selection_serves_its_pods_without_a_server() {
    sandboxed(|sandbox| {
        let web = Web::new(sandbox, 1, 1)?;
        let server = &web.cluster.server;
        let pod = KubePod::start(sandbox, "client", 1, Driver::Cgroupfs)?;
        server.apply(&pod.object(json!({"app": "web"}), json!({})))?;
        let agent = web.cluster.agent.clone().arg("--pods=app=web");
        let mut running = agent.start()?;
        wait_for(&web.cluster, 1, 0)?;
        running.kill()?;
        server.fail(Fault::answer(503));
        let mut running = agent.spawn()?;
        running.wait_for_event("hooks.replaced")?;
        ensure!(is_served(&pod.pod)?);
        eventually("it answers, and no pod is listed", || {
            Ok(clients(&agent).is_ok_and(|of| of.served == 0))
        })?;
        ensure!(is_served(&pod.pod)?);
        // Meanwhile it has lost its label.
        server.apply(&pod.object(json!({}), json!({})))?;
        server.heal();
        running.wait_ready()?;
        wait_for(&web.cluster, 0, 1)?;
        eventually("it is left alone", || Ok(!is_served(&pod.pod)?))
    });
}
