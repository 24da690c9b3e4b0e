//! `run --shadow` beside rules as kube-proxy's: nothing changes, and flows are compared with what the agent would have chosen.

use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_agent::serve::{ShadowReport, ShadowedPort};
use lb_testbed::{Family, Pod, Sandbox, connect, patiently, sandboxed};

use super::beside::table;
use super::scene::{FAMILIES, Kind, PORT, PROTOCOLS, Scene, Service, ask};
use crate::netfilter::nft;
use crate::support::{HTTP, TARGET, active, backends, eventually, get, status};

/// `lb-agent shadow` of the agent on this socket.
fn run(socket: &Path) -> Result<Output> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lb-agent"));
    let command = command.args(["shadow", "-o", "json", "--socket"]);
    Ok(command.arg(socket).output()?)
}

/// The comparison when no flow waits any more, and the exit status of the command.
fn compared(scene: &Scene<'_>, flows: u64) -> Result<(ShadowReport, i32)> {
    let mut found = None;
    eventually(&format!("{flows} flows are compared"), || {
        let output = run(scene.agent.socket())?;
        let report: ShadowReport = serde_json::from_slice(&output.stdout)
            .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
        let is_so = report.status.waiting == 0 && report.status.flows >= flows;
        found = Some((report, output.status.code().context("it exits")?));
        Ok(is_so)
    })
    .with_context(|| format!("{found:?}"))?;
    found.context("there is a report")
}

fn port<'r>(report: &'r ShadowReport, name: &str, port: &str) -> Result<&'r ShadowedPort> {
    let mut ports = report.ports.iter();
    let found = ports.find(|of| of.name == name && of.port == port);
    found.with_context(|| format!("no {name} {port} in {report:?}"))
}

/// A scene with an agent in shadow mode that is not started yet.
fn scene(sandbox: &Sandbox) -> Result<Scene<'_>> {
    let mut scene = Scene::new(sandbox)?;
    scene.agent = scene
        .agent
        .clone()
        .args_of_shadow()
        .arg("--http")
        .arg(HTTP.to_string());
    Ok(scene)
}

trait ShadowArgs {
    fn args_of_shadow(self) -> Self;
}

impl ShadowArgs for lb_testbed::Agent {
    fn args_of_shadow(self) -> Self {
        self.arg("--shadow").arg("--shadow-tolerance=1s")
    }
}

fn tables(scene: &Scene<'_>, service: &Service, pod: &Pod) -> String {
    FAMILIES
        .map(|family| table(scene, service, family, pod))
        .concat()
}

/// The connections that the agent has counted.
fn counted(scene: &Scene<'_>) -> Result<u64> {
    let backends = backends(&scene.agent)?;
    Ok(backends.iter().map(|backend| backend.connections).sum())
}

#[test]
fn calls_pass_untouched_and_go_where_they_would_have_gone() {
    sandboxed(|sandbox| {
        let mut scene = scene(sandbox)?;
        let pod = scene.pods(1)?.remove(0);
        let client = scene.node.pod("client")?;
        let service = Service::new("web", 10);
        scene.write(&service, &[(&pod, "node-a")])?;
        nft(&tables(&scene, &service, &pod))?;
        let _running = scene.start()?;
        let mut flows = 0;
        for from in [&client, scene.outside.machine()] {
            for kind in Kind::ALL {
                for family in FAMILIES {
                    let to = service.at(kind, family, scene.outside.node_address(family));
                    for protocol in PROTOCOLS {
                        let answer = ask(from, to, protocol)
                            .with_context(|| format!("{} {to} {protocol:?}", from.name()))?;
                        ensure!(answer.name == pod.name(), "{} answered", answer.name);
                        flows += 1;
                    }
                }
            }
        }
        // The hooks ran for one of the two.
        assert_eq!(counted(&scene)?, flows / 2);

        // Sockets have the address that they asked for, and no entry.
        let to = service.at(Kind::ClusterIp, Family::IPv4, [0, 0, 0, 0].into());
        let stream = client.enter(|| connect(to))??;
        assert_eq!(stream.peer_addr()?, to);
        let socket = client.enter(|| UdpSocket::bind("0.0.0.0:0"))??;
        socket.set_read_timeout(Some(Duration::from_secs(2)))?;
        for _ in 0..3 {
            socket.send_to(b"?", to)?;
            let mut answer = [0; 64];
            let (_, from) = patiently(Duration::from_secs(10), || socket.recv_from(&mut answer))?;
            assert_eq!(from, to);
        }
        assert_eq!(active(&scene.agent)?, 0);
        // One connection, and one flow of three datagrams.
        assert_eq!(counted(&scene)?, flows / 2 + 2);
        flows += 2;

        let (report, code) = compared(&scene, flows)?;
        assert_eq!(
            (report.status.flows, report.status.different, code),
            (flows, 0, 0)
        );
        assert_eq!((report.status.overruns, &report.status.trouble), (0, &None));
        for name in ["tcp", "udp"] {
            assert_eq!(port(&report, "web", name)?.flows, flows / 2);
        }
        let state = status(&scene.agent)?;
        assert_eq!(state.shadow, Some(report.status));
        assert!(state.packet_path.is_none());
        assert!(!nft("list tables")?.contains("socklb"));
        let metrics = get("metrics")?.1;
        let line = format!("socklb_shadow_flows_total{{result=\"same\"}} {flows}\n");
        assert!(metrics.contains(&line), "{metrics}");
        Ok(())
    });
}

#[test]
fn an_endpoint_that_is_none_of_ours_is_a_difference() {
    sandboxed(|sandbox| {
        let mut scene = scene(sandbox)?;
        let pods = scene.pods(2)?;
        let client = scene.node.pod("client")?;
        let (good, odd) = (Service::new("good", 10), Service::new("odd", 11));
        scene.write(&good, &[(&pods[0], "node-a")])?;
        scene.write(&odd, &[(&pods[0], "node-a")])?;
        // The second pod is no endpoint of either.
        nft(&tables(&scene, &odd, &pods[1]))?;
        let mut running = scene.start()?;
        let to = odd.at(Kind::ClusterIp, Family::IPv4, [0, 0, 0, 0].into());
        let answer = ask(&client, to, PROTOCOLS[0])?;
        assert_eq!(answer.name, pods[1].name());
        let (report, code) = compared(&scene, 1)?;
        assert_eq!(
            (report.status.flows, report.status.different, code),
            (1, 1, 1)
        );
        let of = port(&report, "odd", "tcp")?;
        assert_eq!((of.flows, of.different), (1, 1));
        let last = of.last_difference.as_ref().context("there is one")?;
        assert_eq!(last.kind, "other-endpoint");
        assert_eq!(last.frontend, to.to_string());
        assert_eq!(
            last.endpoint,
            SocketAddr::from((pods[1].ipv4(), TARGET)).to_string()
        );
        assert_eq!(
            last.backends,
            [SocketAddr::from((pods[0].ipv4(), TARGET)).to_string()]
        );
        assert!(last.client.starts_with(&client.ipv4().to_string()));
        assert_eq!(port(&report, "good", "tcp")?.flows, 0);
        let metrics = get("metrics")?.1;
        let line = "\nsocklb_shadow_flows_total{result=\"different\"} 1\n";
        ensure!(metrics.contains(line), "{metrics}");
        running.wait_for_event_with("shadow.difference", |event| {
            event.text("service") == "odd" && event.text("kind") == "other-endpoint"
        })?;

        // Both sides learn of the endpoint, one after the other: that is no difference.
        scene.write(&odd, &[(&pods[1], "node-a")])?;
        scene.wait_for_backends(&odd, &[(&pods[1], "node-a")])?;
        ask(&client, to, PROTOCOLS[0])?;
        let (report, _) = compared(&scene, 2)?;
        assert_eq!(report.status.different, 1);
        Ok(())
    });
}

#[test]
fn what_would_be_refused_passes_and_is_a_difference() {
    sandboxed(|sandbox| {
        let mut scene = scene(sandbox)?;
        let pod = scene.pods(1)?.remove(0);
        let client = scene.node.pod("client")?;
        let service = Service::new("web", 10);
        scene.write(&service, &[])?;
        // Its port 81 is in no Service.
        let to = service.at(Kind::ClusterIp, Family::IPv4, [0, 0, 0, 0].into());
        let unknown = SocketAddr::new(to.ip(), PORT + 1);
        let rule = format!(
            "add rule ip kube-proxy services ip daddr {} tcp dport {} dnat to {}:{TARGET}",
            unknown.ip(),
            unknown.port(),
            pod.ipv4(),
        );
        nft(&format!("{}{rule}\n", tables(&scene, &service, &pod)))?;
        let _running = scene.start()?;
        for to in [to, unknown] {
            assert_eq!(ask(&client, to, PROTOCOLS[0])?.name, pod.name());
        }
        let state = status(&scene.agent)?;
        assert_eq!(
            (state.refused_no_backend, state.refused_unknown_port),
            (1, 1)
        );
        let (report, code) = compared(&scene, 2)?;
        assert_eq!(
            (report.status.flows, report.status.different, code),
            (2, 2, 1)
        );
        for (name, kind) in [("tcp", "would-be-refused"), ("81", "unknown-frontend")] {
            let last = port(&report, "web", name)?.last_difference.as_ref();
            assert_eq!(last.context("there is one")?.kind, kind);
        }
        Ok(())
    });
}

#[test]
fn a_service_that_the_rules_do_not_have_is_a_difference() {
    sandboxed(|sandbox| {
        let mut scene = scene(sandbox)?;
        let pod = scene.pods(1)?.remove(0);
        let client = scene.node.pod("client")?;
        let (known, missing) = (Service::new("known", 10), Service::new("missing", 11));
        scene.write(&known, &[(&pod, "node-a")])?;
        nft(&tables(&scene, &known, &pod))?;
        // As a node's default route. Nothing is there.
        let device = scene.outside.device();
        let route = format!("route add 10.96.0.0/24 dev {device}\n");
        scene.node.namespace().ip(&route)?;
        let _running = scene.start()?;
        scene.write(&missing, &[(&pod, "node-a")])?;
        scene.wait_for_backends(&missing, &[(&pod, "node-a")])?;
        let to = missing.at(Kind::ClusterIp, Family::IPv4, [0, 0, 0, 0].into());
        eventually("it is a difference after the tolerance", || {
            // It reaches nothing.
            client.enter(|| -> Result<()> {
                let socket = UdpSocket::bind("0.0.0.0:0")?;
                socket.send_to(b"?", to)?;
                Ok(())
            })??;
            let (report, _) = compared(&scene, 1)?;
            let last = &port(&report, "missing", "udp")?.last_difference;
            Ok(last
                .as_ref()
                .is_some_and(|last| last.kind == "not-translated"))
        })
    });
}

#[test]
fn connections_from_before_keep_their_names_and_the_next_agent_balances() {
    sandboxed(|sandbox| {
        let mut scene = Scene::new(sandbox)?;
        let pods = scene.pods(2)?;
        let client = scene.node.pod("client")?;
        let service = Service::new("web", 10);
        scene.write(&service, &[(&pods[0], "node-a")])?;
        nft(&tables(&scene, &service, &pods[1]))?;
        let to = service.at(Kind::ClusterIp, Family::IPv4, [0, 0, 0, 0].into());
        let answers = |pod: &Pod| -> Result<()> {
            let name = ask(&client, to, PROTOCOLS[0])?.name;
            ensure!(name == pod.name(), "{name} answered");
            Ok(())
        };
        let mut running = scene.start()?;
        answers(&pods[0])?;
        let stream = client.enter(|| connect(to))??;
        let output = run(scene.agent.socket())?;
        assert_eq!(output.status.code(), Some(2), "it has nothing to compare");
        running.terminate()?;

        let shadow = scene.agent.clone().args_of_shadow();
        let mut running = shadow.start()?;
        assert_eq!(stream.peer_addr()?, to);
        assert_eq!(active(&scene.agent)?, 1);
        answers(&pods[1])?;
        drop(stream);
        eventually("its entry is freed", || Ok(active(&scene.agent)? == 0))?;
        running.terminate()?;
        // The programs stay, and change nothing.
        answers(&pods[1])?;

        let _running = scene.start()?;
        answers(&pods[0])
    });
}
