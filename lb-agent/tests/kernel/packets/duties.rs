//! kube-proxy's duties in a running agent: health answers, and UDP flows whose endpoint has stopped serving.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_testbed::{Deadline, Family, Pod, Question, sandboxed};
use serde_json::{Value, json};

use super::scene::{FAMILIES, Kind, Scene, Service};

/// Far more than a change takes.
const LIMIT: Duration = Duration::from_secs(10);

#[test]
fn load_balancers_are_told_which_nodes_to_use() {
    sandboxed(|sandbox| {
        let mut scene = Scene::new(sandbox)?;
        let near = scene.pods(2)?;
        let far = scene.remote_pod("far")?;
        let service = Service::new("local", 20)
            .with("externalTrafficPolicy", json!("Local"))
            .with("healthCheckNodePort", json!(31_020));
        scene.write(&service, &[(&near[0], "node-a"), (&far, "node-b")])?;
        scene.agent = scene.agent.clone().arg("--healthz=0.0.0.0:10256");
        let _running = scene.start()?;
        let machine = scene.outside.machine();
        for family in FAMILIES {
            let node = scene.outside.node_address(family);
            let (code, body) = get(machine, (node, 10_256).into(), "/healthz")?;
            assert_eq!((code, &body["nodeEligible"]), (200, &json!(true)));
            let (code, body) = get(machine, (node, 31_020).into(), "/")?;
            assert_eq!((code, &body["localEndpoints"]), (200, &json!(1)));
        }
        scene.write(&service, &[(&far, "node-b")])?;
        let node = scene.outside.node_address(Family::IPv4);
        let deadline = Deadline::within(LIMIT);
        loop {
            let (code, body) = get(machine, (node, 31_020).into(), "/")?;
            if code == 503 {
                assert_eq!(body["localEndpoints"], json!(0));
                return Ok(());
            }
            ensure!(!deadline.is_over(), "{code} {body}");
        }
    });
}

#[test]
fn a_udp_client_that_keeps_its_port_moves_to_another_endpoint() {
    sandboxed(|sandbox| {
        let mut scene = Scene::new(sandbox)?;
        let pods = scene.pods(2)?;
        let service = Service::new("cluster", 10);
        let both = [(&pods[0], "node-a"), (&pods[1], "node-a")];
        scene.write(&service, &both)?;
        let _running = scene.start()?;
        let machine = scene.outside.machine();
        for family in FAMILIES {
            scene.write(&service, &both)?;
            let to = service.at(Kind::NodePort, family, scene.outside.node_address(family));
            let question =
                Question::to(to).from_socket(SocketAddr::new(machine.address(family), 4_000));
            let ask = || machine.enter(|| question.over_udp());
            // The second Service port may still be on its way.
            let first = ask()?.with_context(|| format!("{family:?}"))?.name;
            assert_eq!(ask()??.name, first, "the flow stays");
            let others: Vec<_> = both
                .into_iter()
                .filter(|(pod, _)| pod.name() != first)
                .collect();
            scene.write(&service, &others)?;
            let deadline = Deadline::within(LIMIT);
            let impatient = question.within(Duration::from_millis(300));
            loop {
                match machine.enter(|| impatient.over_udp())? {
                    Ok(answer) if answer.name != first => break,
                    Ok(_) => {}
                    // The entry was deleted while the first endpoint's answer was on its way, which then has the endpoint's address.
                    Err(error) if is_late(&error) => {}
                    Err(error) => return Err(error.into()),
                }
                ensure!(!deadline.is_over(), "the flow stays with {first}");
            }
        }
        Ok(())
    });
}

fn is_late(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock)
}

/// The status code and the JSON body.
pub fn get(client: &Pod, at: SocketAddr, path: &str) -> Result<(u16, Value)> {
    let answer = client.enter(|| -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&at, LIMIT)?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: node\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    })?;
    let answer = answer.with_context(|| format!("GET {at}{path}"))?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no body")?;
    let code = head.split(' ').nth(1).context("no status code")?;
    Ok((code.parse()?, serde_json::from_str(body)?))
}
