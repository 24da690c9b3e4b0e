//! Which pods' sockets are balanced: `--pods`, `--namespaces` and the like, and the annotation `socklb.dev/sockets`.

mod cluster;
mod mesh;
mod packets;
mod restart;
mod scene;

use std::collections::{BTreeMap, HashMap};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use aya::programs::loaded_programs;
use lb_testbed::{Agent, connect, connect_name, sandboxed};
use serde_json::{Value, json};

use self::scene::{Driver, KubePod, Process, Scene, clients, is_served, make_cgroup, object, uid};
use crate::support::{HTTP, PORT, Web, active, cluster_ip, eventually, failure, get, status};

#[test]
fn only_selected_pods_are_balanced() {
    sandboxed(|sandbox| {
        let scene = Scene::new(sandbox)?;
        for (round, driver) in [Driver::Systemd, Driver::Cgroupfs].into_iter().enumerate() {
            let number = |index: u8| index + 10 * u8::try_from(round).unwrap_or_default();
            let start = |name, index| KubePod::start(sandbox, name, number(index), driver);
            let web = start("selected", 1)?;
            let other = start("other", 2)?;
            let annotated = start("annotated", 3)?;
            let wrong = start("wrong", 4)?;
            let labels = || json!({"app": "web"});
            scene.write_pods([
                web.object(labels(), json!({})),
                other.object(json!({"app": "db"}), json!({})),
                annotated.object(labels(), json!({"socklb.dev/sockets": "false"})),
                wrong.object(
                    labels(),
                    json!({"socklb.dev/sockets": "no", "socklb.dev/socket": "false"}),
                ),
            ])?;
            // No object, as before the watch has brought it.
            let unknown = start("unknown", 5)?;
            let http = HTTP.to_string();
            let agent = scene
                .agent
                .clone()
                .arg("--pods=app in (web)")
                .arg("--http")
                .arg(http);
            let mut running = agent.start()?;
            scene.wait_for(2, 2, 0)?;
            for (pod, wanted) in [
                (&web, true),
                (&other, false),
                (&annotated, false),
                (&wrong, true),
                (&unknown, false),
            ] {
                assert_eq!(
                    is_served(&pod.pod)?,
                    wanted,
                    "{driver:?} {}",
                    pod.pod.name()
                );
            }
            let problems = status(&agent)?.problems;
            ensure!(
                problems.len() == 2
                    && problems
                        .iter()
                        .all(|of| of.starts_with("Pod default/wrong: annotation")),
                "{problems:?}"
            );
            let (_, metrics) = get("metrics")?;
            for sample in ["{state=\"served\"} 2", "{state=\"not_served\"} 2"] {
                ensure!(
                    metrics.contains(&format!("socklb_pods{sample}")),
                    "{metrics}"
                );
            }
            running.terminate()?;
        }
        Ok(())
    });
}

#[test]
fn a_label_decides_about_new_connects_and_keeps_connections() {
    sandboxed(|sandbox| {
        let scene = Scene::new(sandbox)?;
        let pod = KubePod::start(sandbox, "client", 1, Driver::Systemd)?;
        let write = |labels| scene.write_pods([pod.object(labels, json!({}))]);
        write(json!({"app": "web"}))?;
        let agent = scene
            .agent
            .clone()
            .arg("--pods=app=web")
            .arg("--except-pods=mesh");
        let mut running = agent.start()?;
        scene.wait_for(1, 0, 0)?;
        let stream = pod.pod.enter(|| connect(Web::ADDRESS))??;
        write(json!({"app": "web", "mesh": ""}))?;
        running.wait_for_event("pods.changed")?;
        scene.wait_for(0, 1, 0)?;
        ensure!(!is_served(&pod.pod)?);
        assert_eq!(stream.peer_addr()?, Web::ADDRESS);
        assert_eq!(active(&agent)?, 1);
        drop(stream);
        eventually("its connection is not counted", || Ok(active(&agent)? == 0))?;
        write(json!({"app": "web"}))?;
        scene.wait_for(1, 0, 0)?;
        ensure!(is_served(&pod.pod)?);
        // Its pod is deleted.
        scene.write_pods([])?;
        scene.wait_for(0, 0, 0)?;
        ensure!(!is_served(&pod.pod)?);
        Ok(())
    });
}

#[test]
fn a_pod_is_balanced_once_it_has_a_process_in_its_own_network() {
    sandboxed(|sandbox| {
        let scene = Scene::new(sandbox)?;
        let pod = sandbox.pod("late")?;
        scene.write_pods([object("late", &uid(1), json!({}), json!({}))])?;
        let agent = scene.agent.clone().arg("--pods=").arg("--http");
        let _running = agent.arg(HTTP.to_string()).start()?;
        scene.wait_for(0, 0, 1)?;
        assert_eq!(clients(&scene.agent)?.missing, ["default/late"]);
        let not_found = |number: u8| -> Result<bool> {
            let sample = format!("\nsocklb_pods{{state=\"not_found\"}} {number}\n");
            Ok(get("metrics")?.1.contains(&sample))
        };
        ensure!(not_found(1)?);
        let container = make_cgroup(sandbox.cgroup(), &uid(1), Driver::Systemd)?;
        // A runtime's process is in the cgroup before it is in the network.
        let mut runtime = Command::new("sleep").arg("infinity").spawn()?;
        std::fs::write(
            container.path().join("cgroup.procs"),
            runtime.id().to_string(),
        )?;
        std::thread::sleep(std::time::Duration::from_millis(500));
        scene.wait_for(0, 0, 1)?;
        ensure!(!is_served(&pod)?);
        let first = Process::start(&pod, &container)?;
        scene.wait_for(1, 0, 0)?;
        ensure!(not_found(0)?);
        ensure!(is_served(&pod)?);
        // A container that is started again has the same network.
        drop(first);
        ensure!(is_served(&pod)?);
        runtime.kill()?;
        runtime.wait()?;
        Ok(())
    });
}

#[test]
fn the_host_is_served_unless_a_flag_says_no() {
    sandboxed(|sandbox| {
        let scene = Scene::new(sandbox)?;
        let pod = KubePod::start(sandbox, "client", 1, Driver::Cgroupfs)?;
        let mut in_host_network = object("proxy", &uid(2), json!({}), json!({}));
        in_host_network["spec"]["hostNetwork"] = json!(true);
        scene.write_pods([pod.object(json!({}), json!({})), in_host_network])?;
        for is_served in [false, true] {
            let agent = scene.agent.clone().arg("--pods=").arg("--host");
            let mut running = agent.arg(is_served.to_string()).start()?;
            scene.wait_for(1, 0, 0)?;
            let of = clients(&scene.agent)?;
            assert_eq!((of.host_network, of.includes_host), (1, is_served));
            ensure!(scene::is_served(&pod.pod)?);
            let answer = connect_name(Web::ADDRESS);
            assert_eq!(answer.is_ok(), is_served, "{answer:?}");
            running.terminate()?;
        }
        Ok(())
    });
}

#[test]
fn a_pod_that_is_left_out_is_refused_nothing_and_explained() {
    sandboxed(|sandbox| {
        let scene = Scene::new(sandbox)?;
        let pods = [
            KubePod::start(sandbox, "selected", 1, Driver::Systemd)?,
            KubePod::start(sandbox, "other", 2, Driver::Systemd)?,
        ];
        let mut objects = pods.each_ref().map(|pod| pod.object(json!({}), json!({})));
        objects[0]["metadata"]["labels"] = json!({"app": "web"});
        scene.write_pods(objects)?;
        let _running = scene.agent.clone().arg("--pods=app=web").start()?;
        scene.wait_for(1, 1, 0)?;
        let [selected, other] = &pods;
        let unknown_port = SocketAddr::from((cluster_ip(10), PORT + 1));
        let refused = failure(&selected.pod, unknown_port)?;
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        let passed = failure(&other.pod, unknown_port)?;
        assert_eq!(passed.raw_os_error(), Some(libc::ENETUNREACH));

        // Datagrams too: the Service has no UDP port.
        let send = |pod: &KubePod| {
            pod.pod.enter(|| {
                let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
                socket.send_to(b"?", Web::ADDRESS)
            })?
        };
        let errors = [selected, other].map(|pod| send(pod).map_err(|error| error.raw_os_error()));
        let wanted = [libc::ECONNREFUSED, libc::ENETUNREACH];
        assert_eq!(errors, wanted.map(|error| Err(Some(error))));

        let explain = |target: SocketAddr, pod: &KubePod| -> Result<Value> {
            let mut command = Command::new(env!("CARGO_BIN_EXE_lb-agent"));
            command.args(["explain", "-o", "json", &target.to_string(), "--pid"]);
            command.arg(pod.process().to_string());
            let output = command.arg("--socket").arg(scene.agent.socket()).output()?;
            Ok(serde_json::from_slice(&output.stdout)?)
        };
        for target in [Web::ADDRESS, unknown_port] {
            let explanation = explain(target, other)?;
            assert_eq!(explanation["verdict"]["outcome"], "unchanged", "{target}");
            let message = explanation["verdict"]["message"]
                .as_str()
                .unwrap_or_default();
            ensure!(message.contains("default/other"), "{message}");
        }
        let explained = |target| {
            Ok::<_, anyhow::Error>(explain(target, selected)?["verdict"]["outcome"].clone())
        };
        assert_eq!(explained(Web::ADDRESS)?, "balanced");
        assert_eq!(explained(unknown_port)?, "refused");
        Ok(())
    });
}

/// The verifier removes it.
#[test]
fn without_a_selection_the_programs_have_no_look_up_of_clients() {
    sandboxed(|sandbox| {
        let scene = Scene::new(sandbox)?;
        let sizes = |agent: &Agent| -> Result<BTreeMap<String, u32>> {
            let mut running = agent.start()?;
            let hooks = status(agent)?.hooks.into_iter();
            let hooks: HashMap<u32, String> = hooks.map(|of| (of.program_id, of.hook)).collect();
            let mut sizes = BTreeMap::new();
            for program in loaded_programs().flatten() {
                if let Some(hook) = hooks.get(&program.id()) {
                    let size = program.size_translated().context("the kernel tells root")?;
                    sizes.insert(hook.clone(), size);
                }
            }
            running.terminate()?;
            Ok(sizes)
        };
        let with = sizes(&scene.agent.clone().arg("--pods="))?;
        let without = sizes(&scene.agent)?;
        assert_eq!(without.len(), 9);
        for (hook, size) in without {
            match hook.as_str() {
                "connect4" | "connect6" | "sendmsg4" | "sendmsg6" => {
                    ensure!(size < with[&hook], "{hook}")
                }
                _ => assert_eq!(size, with[&hook], "{hook}"),
            }
        }
        Ok(())
    });
}
