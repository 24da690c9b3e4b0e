//! Connects follow the state of the cluster.

use anyhow::Result;
use lb_testbed::api_server::{Behaviour, Fault, Kind, StreamingLists, Verb};
use lb_testbed::{Agent, Endpoint, Sandbox, sandboxed};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use super::{Cluster, Web, address, service, slice};
use crate::support::{
    answers, backends, cluster_ip, eventually, failure, status, wait_for_backends,
};

#[test]
fn listed_objects_and_changes_take_effect() {
    sandboxed(|sandbox| {
        let web = Web::new(sandbox, 3, 2)?;
        let _running = web.cluster.agent.start()?;
        web.wait_for(&[0, 1])?;
        web.cluster.apply_slice("web", &web.servers.ipv4()[2..])?;
        web.wait_for(&[2])?;
        let server = &web.cluster.server;
        assert_eq!(server.requests(Kind::Service, Verb::List), 0, "a stream");
        let asked = server.last_request(Kind::Service, Verb::Watch);
        let asked = asked.unwrap_or_default();
        assert!(asked.contains("sendInitialEvents=true"), "{asked}");
        assert!(asked.contains("spec.clusterIP%21%3DNone"), "{asked}");
        assert!(
            asked.contains("labelSelector=%21service.kubernetes.io"),
            "{asked}"
        );
        let nodes = server.last_request(Kind::Node, Verb::Watch);
        assert!(nodes.unwrap_or_default().contains("metadata.name%3Dnode-a"));
        Ok(())
    });
}

#[test]
fn a_server_that_refuses_streaming_lists_is_asked_for_pages() {
    sandboxed(|sandbox| in_pages(sandbox, StreamingLists::Refused));
}

#[test]
fn a_server_that_does_not_know_streaming_lists_is_asked_for_pages() {
    sandboxed(|sandbox| in_pages(sandbox, StreamingLists::Ignored));
}

fn in_pages(sandbox: &Sandbox, streaming_lists: StreamingLists) -> Result<()> {
    let web = Web::new(sandbox, 2, 1)?;
    web.cluster.server.behave(Behaviour {
        streaming_lists,
        ..Behaviour::default()
    });
    let _running = web.cluster.agent.start()?;
    web.wait_for(&[0])?;
    assert!(web.cluster.server.requests(Kind::Service, Verb::List) > 0);
    web.cluster.apply_slice("web", &web.servers.ipv4()[1..])?;
    web.wait_for(&[1])
}

#[test]
fn services_can_change_type_and_be_created_again() {
    sandboxed(|sandbox| {
        let web = Web::new(sandbox, 1, 1)?;
        let _running = web.cluster.agent.start()?;
        web.wait_for(&[0])?;
        let node = sandbox.pods(1)?.remove(0);
        let server = &web.cluster.server;
        let frontends = |number| {
            eventually(&format!("{number} frontends"), || {
                Ok(status(&web.cluster.agent)?.frontends == number)
            })
        };

        let node_port =
            json!([{"name": "http", "port": 80, "protocol": "TCP", "nodePort": 30_080}]);
        let mut changed = service("web", Web::NUMBER)
            .spec("type", json!("NodePort"))
            .to_json();
        changed["spec"]["ports"] = node_port;
        server.apply(&changed)?;
        eventually("the node port is a frontend", || {
            Ok(status(&web.cluster.agent)?.frontends > 1)
        })?;
        web.wait_for(&[0])?;

        let external = json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {"type": "ExternalName", "externalName": "example.com",
                "ports": [{"name": "http", "port": 80}]},
        });
        server.apply(&external)?;
        frontends(0)?;
        server.apply(&service("web", Web::NUMBER).to_json())?;
        frontends(1)?;
        web.wait_for(&[0])?;

        server.delete(Kind::Service, "default", "web");
        frontends(0)?;
        server.apply(&service("web", 11).to_json())?;
        frontends(1)?;
        let answered = answers(&node, address(11), 5)?;
        assert_eq!(answered.len(), 1, "the slices were there all the time");
        Ok(())
    });
}

#[test]
fn slices_can_arrive_before_their_service() {
    sandboxed(|sandbox| {
        let web = Web::new(sandbox, 1, 1)?;
        let running = web.cluster.agent.start()?;
        web.wait_for(&[0])?;
        web.cluster.apply_slice("late", &web.servers.ipv4())?;
        eventually("the slice is known", || {
            Ok(status(&web.cluster.agent)?.endpoint_slices == 2)
        })?;
        web.cluster.server.apply(&service("late", 11).to_json())?;
        wait_for_backends(&web.cluster.agent, "late", &web.servers.ipv4())?;
        assert_eq!(answers(&web.client, address(11), 5)?.len(), 1);
        // And that stays so for a while.
        web.cluster.server.delete(Kind::Service, "default", "late");
        eventually("the Service is gone", || {
            Ok(status(&web.cluster.agent)?.frontends == 1)
        })?;
        assert_eq!(status(&web.cluster.agent)?.problems.len(), 1);
        let log = running.log();
        assert!(!log.has("problem.reported"), "all that is normal:\n{log}");
        assert!(!log.has("changes.summarized"), "one a minute:\n{log}");
        Ok(())
    });
}

#[test]
fn a_node_name_is_lowercased_and_must_exist_in_the_cluster() {
    sandboxed(|sandbox| {
        let web = Web::new(sandbox, 1, 1)?;
        let server = &web.cluster.server;
        let endpoint = Endpoint::new(web.servers.ipv4()[0]).node("node-z");
        server.apply(&slice("web").endpoint(endpoint).to_json())?;
        let binary = env!("CARGO_BIN_EXE_lb-agent");
        let agent = Agent::of_cluster(binary, sandbox, &web.cluster.kubeconfig, "Node-A");
        let _running = agent.start()?;
        assert_eq!(status(&agent)?.node_name, "node-a");
        let is_problem = || -> Result<bool> {
            let problems = status(&agent)?.problems;
            Ok(problems
                .iter()
                .any(|line| line.starts_with("Node node-a: ")))
        };
        assert!(
            is_problem()?,
            "slices name others, and there is no such Node"
        );
        server.apply(&json!({
            "apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-a"},
        }))?;
        eventually("the Node exists", || Ok(!is_problem()?))
    });
}

#[test]
fn terminating_endpoints_are_used_only_without_ready_ones() {
    sandboxed(|sandbox| {
        let web = Web::new(sandbox, 2, 2)?;
        let _running = web.cluster.agent.start()?;
        web.wait_for(&[0, 1])?;
        let addresses = web.servers.ipv4();
        let apply = |endpoints: Vec<Endpoint>| {
            let slice = endpoints
                .into_iter()
                .fold(slice("web"), lb_testbed::SliceManifest::endpoint);
            web.cluster.server.apply(&slice.to_json())
        };
        apply(vec![
            Endpoint::new(addresses[0]).conditions(false, true, true),
            Endpoint::new(addresses[1]),
        ])?;
        web.wait_for(&[1])?;
        apply(vec![
            Endpoint::new(addresses[0]).conditions(false, true, true),
            Endpoint::new(addresses[1]).not_ready(),
        ])?;
        web.wait_for(&[0])?;
        apply(Vec::new())?;
        eventually("nothing is left", || {
            Ok(backends(&web.cluster.agent)?.is_empty())
        })?;
        let refused = failure(&web.client, address(Web::NUMBER))?;
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        web.cluster.apply_slice("web", &addresses)?;
        web.wait_for(&[0, 1])
    });
}

#[test]
fn the_nodes_zone_selects_among_hints() {
    sandboxed(|sandbox| {
        let web = Web::new(sandbox, 2, 2)?;
        let hinted = |address, zone: &str| {
            let hints = json!({"forZones": [{"name": zone}]});
            Endpoint::new(address).zone(zone).field("hints", hints)
        };
        let addresses = web.servers.ipv4();
        let hinted = slice("web")
            .endpoint(hinted(addresses[0], "west"))
            .endpoint(hinted(addresses[1], "east"));
        web.cluster.server.apply(&hinted.to_json())?;
        let node = |zone: &str| {
            web.cluster.server.apply(&json!({
                "apiVersion": "v1", "kind": "Node",
                "metadata": {"name": "node-a", "labels": {"topology.kubernetes.io/zone": zone}},
            }))
        };
        node("west")?;
        let _running = web.cluster.agent.start()?;
        web.wait_for(&[0])?;
        node("east")?;
        web.wait_for(&[1])?;
        node("north")?;
        web.wait_for(&[0, 1])
    });
}

#[test]
fn unknown_addresses_in_the_service_cidrs_are_refused() {
    sandboxed(|sandbox| {
        let web = Web::new(sandbox, 1, 1)?;
        let server = &web.cluster.server;
        let cidr = |cidrs: &[&str]| {
            server.apply(&json!({
                "apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR",
                "metadata": {"name": "kubernetes"}, "spec": {"cidrs": cidrs},
            }))
        };
        cidr(&["10.96.0.0/24"])?;
        let foreign = json!({"service.kubernetes.io/service-proxy-name": "other"});
        let mut others = service("others", 20).to_json();
        others["metadata"]["labels"] = foreign;
        server.apply(&others)?;
        let agent = web.cluster.agent.clone().arg("--refuse-unknown");
        let _running = agent.start()?;
        web.wait_for(&[0])?;
        let refused = |number| -> Result<bool> {
            let error = failure(&web.client, address(number))?;
            Ok(error.kind() == std::io::ErrorKind::ConnectionRefused)
        };
        eventually("an unknown address is refused", || refused(77))?;
        assert!(!refused(20)?, "another proxy serves it");
        cidr(&["10.97.0.0/24"])?;
        eventually("it is outside the range", || Ok(!refused(77)?))?;
        assert!(cluster_ip(77).to_string().starts_with("10.96.0."));
        Ok(())
    });
}

#[test]
fn a_server_without_service_cidrs_is_not_a_problem() {
    sandboxed(|sandbox| {
        let web = Web::new(sandbox, 1, 1)?;
        web.cluster.server.behave(Behaviour {
            service_cidrs: false,
            ..Behaviour::default()
        });
        let agent = web.cluster.agent.clone().arg("--refuse-unknown");
        let _running = agent.start()?;
        web.wait_for(&[0])?;
        let status = status(&web.cluster.agent)?;
        assert!(
            status
                .problems
                .iter()
                .any(|line| line.contains("has no ServiceCIDR")),
            "{:?}",
            status.problems
        );
        Ok(())
    });
}

#[test]
fn forbidden_service_cidrs_do_not_delay_the_start() {
    sandboxed(|sandbox| {
        let web = Web::new(sandbox, 1, 1)?;
        let server = &web.cluster.server;
        server.fail(Fault::answer(403).with(Kind::ServiceCidr));
        let agent = web.cluster.agent.clone().arg("--refuse-unknown");
        let running = agent.start()?;
        web.wait_for(&[0])?;
        let log = running.log();
        let mut absent = log.events("source.kind_absent");
        assert!(
            absent.any(|event| event["kind"] == "ServiceCIDR"
                && event.text("error").contains("ClusterRole")),
            "{log}"
        );
        Ok(())
    });
}

#[test]
fn a_burst_is_applied_in_few_passes() {
    sandboxed(|sandbox| {
        let web = Web::new(sandbox, 1, 1)?;
        let cluster: &Cluster = &web.cluster;
        let running = cluster.agent.start()?;
        cluster.wait_for_watches()?;
        let before = status(&cluster.agent)?.syncs.count;
        // All of it is waiting for the agent when it continues.
        let agent = Pid::from_raw(i32::try_from(running.id())?);
        kill(agent, Signal::SIGSTOP)?;
        for number in 20..220 {
            cluster.apply_service(&format!("service-{number}"), number, &web.servers.ipv4())?;
        }
        kill(agent, Signal::SIGCONT)?;
        eventually("all 201 are in effect", || {
            let status = status(&cluster.agent)?;
            Ok(status.frontends == 201 && status.backends == 201)
        })?;
        let passes = status(&cluster.agent)?.syncs.count - before;
        assert!(passes < 40, "{passes} passes for 400 changes");
        Ok(())
    });
}

#[test]
fn large_and_many_slices_are_served() {
    sandboxed(|sandbox| {
        let web = Web::new(sandbox, 1, 1)?;
        let cluster: &Cluster = &web.cluster;
        let many = |slice: u8, number: u16| {
            (0..number).map(move |host| {
                let [high, low] = host.to_be_bytes();
                std::net::Ipv4Addr::new(10, 200 + slice, high, low)
            })
        };
        cluster
            .server
            .apply(&slice("web").addresses(many(0, 1_000)).to_json())?;
        let _running = cluster.agent.start()?;
        let number = |wanted| {
            eventually(&format!("{wanted} backends"), || {
                Ok(status(&cluster.agent)?.backends == wanted)
            })
        };
        number(1_000)?;
        for part in 1..20 {
            let part_of = slice("web")
                .named(&format!("web-{part}"))
                .addresses(many(part, 100));
            cluster.server.apply(&part_of.to_json())?;
        }
        number(2_900)?;
        cluster
            .server
            .delete(Kind::EndpointSlice, "default", "web-ipv4");
        number(1_900)
    });
}
