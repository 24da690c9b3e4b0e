//! `lb-agent explain` beside what connects get.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::process::Child;

use anyhow::{Context as _, Result};
use aya::maps::{Array, HashMap, Map, MapData};
use lb_common::{Backend, FrontendKey, FrontendValue, TABLES_VERSION, mapped};
use lb_testbed::{Agent, sandboxed};
use serde_json::{Value, json};

use super::command::command;
use super::shop::{NODE, NODE_PORT, Shop};
use crate::support::{PORT, TARGET, answers, cluster_ip, eventually, failure, write_service};

/// The exit status, and the explanation.
fn explain(agent: &Agent, target: &str) -> Result<(i32, Value)> {
    explain_with(agent, &[target])
}

fn explain_with(agent: &Agent, args: &[&str]) -> Result<(i32, Value)> {
    let args = ["explain", "-o", "json"].iter().chain(args);
    let output = command(agent, args).output()?;
    let code = output.status.code().context("it exits")?;
    let explanation = serde_json::from_slice(&output.stdout)
        .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
    Ok((code, explanation))
}

/// The addresses of the chosen endpoints in the only view of the only service port.
fn chosen(explanation: &Value) -> Vec<String> {
    let views = explanation["servicePorts"][0]["views"].as_array();
    let [view] = views.map(Vec::as_slice).unwrap_or_default() else {
        panic!("it has one view: {explanation:#}");
    };
    let endpoints = view["endpoints"].as_array().into_iter().flatten();
    let chosen = endpoints.filter(|of| of["chosen"] == true);
    chosen
        .filter_map(|of| of["address"].as_str().map(str::to_owned))
        .collect()
}

#[test]
fn connects_go_to_the_explained_backends() {
    sandboxed(|sandbox| {
        let shop = Shop::start(sandbox)?;
        let (code, explanation) = explain(&shop.agent, &Shop::ADDRESS.to_string())?;
        assert_eq!(code, 0);
        let here = format!("{}:{}", shop.servers.ipv4()[0], TARGET);
        assert_eq!(chosen(&explanation), [here]);
        let names = answers(&shop.client, Shop::ADDRESS, 4)?;
        let pod = shop.servers.pods[0].name().to_owned();
        assert_eq!(names.into_iter().collect::<Vec<_>>(), [(pod, 4)]);

        let (code, explanation) = explain(&shop.agent, &format!("{NODE}:{NODE_PORT}"))?;
        assert_eq!(code, 0);
        assert_eq!(chosen(&explanation).len(), 2);
        let (code, explanation) = explain(&shop.agent, "shop/web:http")?;
        assert_eq!(code, 0);
        let ports = explanation["servicePorts"].as_array();
        assert_eq!(ports.map(Vec::len), Some(2), "one for each family");
        Ok(())
    });
}

#[test]
fn a_connect_that_would_be_refused_is() {
    sandboxed(|sandbox| {
        let shop = Shop::start(sandbox)?;
        write_service(&shop.manifests, "empty", cluster_ip(11), &[])?;
        let empty = SocketAddr::from((cluster_ip(11), PORT));
        eventually("the Service is known", || {
            Ok(explain(&shop.agent, "empty")?.0 == 1)
        })?;
        for target in [empty, (cluster_ip(10), 81).into()] {
            let (code, explanation) = explain(&shop.agent, &target.to_string())?;
            assert_eq!(code, 1, "{explanation:#}");
            let error = failure(&shop.client, target)?;
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{target}");
        }
        let (code, explanation) = explain(&shop.agent, "192.0.2.1:80")?;
        assert_eq!(code, 0);
        assert_eq!(explanation["verdict"]["outcome"], "unchanged");
        Ok(())
    });
}

#[test]
fn the_backend_that_a_client_has_by_affinity_gets_its_next_connect() {
    sandboxed(|sandbox| {
        let shop = Shop::start(sandbox)?;
        let node_port = SocketAddr::from((NODE, NODE_PORT));
        let target = node_port.to_string();
        let process = Running(shop.client.command("sleep").arg("infinity").spawn()?);
        let pid = process.0.id().to_string();
        let from = shop.client.ipv4().to_string();
        let clients = [["--pid", &pid], ["--from", &from]];
        for [flag, client] in clients {
            let (_, before) = explain_with(&shop.agent, &[&target, flag, client])?;
            assert_eq!(before["servicePorts"][0]["clients"], json!([]), "{flag}");
        }
        let first = answers(&shop.client, node_port, 1)?;
        for [flag, client] in clients {
            let (code, explanation) = explain_with(&shop.agent, &[&target, flag, client])?;
            assert_eq!(code, 0);
            let known = &explanation["servicePorts"][0]["clients"][0];
            let pods = shop.servers.pods.iter();
            let mut pods = pods.filter(|pod| {
                let address = SocketAddr::from((pod.ipv4(), TARGET));
                known["backend"] == json!(address)
            });
            let named = pods.next().context("a pod has the address")?.name();
            assert!(first.contains_key(named), "{flag}: {first:?}, {known}");
            assert!(known["secondsLeft"].as_u64() > Some(10_000), "{known}");
            let again = answers(&shop.client, node_port, 4)?;
            assert_eq!(
                again.into_iter().collect::<Vec<_>>(),
                [(named.to_owned(), 4)]
            );
        }
        // Loopback NodePorts are for the host.
        let loopback = format!("127.0.0.1:{NODE_PORT}");
        let (_, of_pod) = explain_with(&shop.agent, &[&loopback, "--pid", &pid])?;
        assert_eq!(of_pod["verdict"]["outcome"], "unchanged");
        let own = shop.running.id().to_string();
        let (_, of_host) = explain_with(&shop.agent, &[&loopback, "--pid", &own])?;
        assert_eq!(of_host["verdict"]["outcome"], "balanced");
        Ok(())
    });
}

/// A process, ended on drop.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The words for the differences of the only frontend.
fn differences(explanation: &Value) -> Vec<String> {
    let tables = &explanation["servicePorts"][0]["frontends"][0]["tables"];
    let differences = tables["differences"].as_array().into_iter().flatten();
    differences
        .filter_map(|of| of["reason"].as_str().map(str::to_owned))
        .collect()
}

#[test]
fn tables_that_another_program_has_changed_differ() {
    sandboxed(|sandbox| {
        let shop = Shop::start(sandbox)?;
        let target = Shop::ADDRESS.to_string();
        let (_, intact) = explain(&shop.agent, &target)?;
        assert_eq!(differences(&intact), [""; 0]);

        let folder = shop
            .agent
            .pin_dir()
            .join(format!("tables-v{TABLES_VERSION}"));
        let backends = MapData::from_pin(folder.join("BACKENDS"))?;
        let mut backends: Array<_, [u64; Backend::WORDS]> = Map::Array(backends).try_into()?;
        let tables = &intact["servicePorts"][0]["frontends"][0]["tables"];
        let id = tables["views"][0]["backends"][0]["id"].as_u64();
        let id = u32::try_from(id.context("the view has a backend")?)?;
        let mut line = backends.get(&id, 0)?;
        line[Backend::STATE_WORD] = 0;
        backends.set(id, line, 0)?;
        let (_, spoilt) = explain(&shop.agent, &target)?;
        assert_eq!(differences(&spoilt), ["BackendState"]);

        let frontends = MapData::from_pin(folder.join("FRONTENDS"))?;
        let mut frontends: HashMap<_, FrontendKey, FrontendValue> =
            Map::HashMap(frontends).try_into()?;
        let address = mapped(u32::from(cluster_ip(10)).to_be());
        frontends.remove(&FrontendKey::new(address, PORT.to_be(), lb_common::TCP))?;
        let (_, gone) = explain(&shop.agent, &target)?;
        assert_eq!(differences(&gone), ["NoElement"]);
        Ok(())
    });
}
