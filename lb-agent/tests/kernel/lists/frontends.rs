//! `lb-agent frontends`, and the ids and places of backends.

use std::net::{IpAddr, SocketAddr};
use std::process::Command;

use anyhow::{Result, ensure};
use lb_testbed::{Agent, Family, sandboxed};
use serde_json::{Value, json};

use super::command::{objects, output};
use super::shop::{NODE, NODE_PORT, Shop};

/// What `lb-agent dump` prints of the tables.
fn dump(agent: &Agent) -> Result<String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lb-agent"));
    let output = command
        .arg("dump")
        .arg("--pin-dir")
        .arg(agent.pin_dir())
        .output()?;
    ensure!(output.status.success());
    Ok(String::from_utf8(output.stdout)?)
}

fn find<'a>(objects: &'a [Value], address: &str) -> &'a Value {
    let mut of_address = objects
        .iter()
        .filter(|object| object["address"] == json!(address));
    let found = of_address
        .next()
        .unwrap_or_else(|| panic!("{address} in {objects:?}"));
    assert_eq!(of_address.next(), None, "{address} is listed once");
    found
}

#[test]
fn frontends_are_listed_with_their_ids_and_scopes() {
    sandboxed(|sandbox| {
        let shop = Shop::start(sandbox)?;
        let frontends = objects(&shop.agent, &["frontends"])?;
        let tables = dump(&shop.agent)?;
        for frontend in &frontends {
            let text = |key: &str| frontend[key].as_str().unwrap_or_default().to_owned();
            let line = format!(
                "frontend {}  {}/{}  {},",
                frontend["id"],
                text("address"),
                text("protocol"),
                text("kind")
            );
            assert!(tables.contains(&line), "{line:?} in {tables}");
        }
        assert_eq!(frontends.len(), tables.matches("  frontend ").count());

        let node_port = |address: &str| {
            SocketAddr::new(address.parse::<IpAddr>().expect("an address"), NODE_PORT).to_string()
        };
        for (address, kind, family, scope, backends) in [
            (
                Shop::ADDRESS.to_string(),
                "ClusterIP",
                "IPv4",
                "internal",
                1,
            ),
            (
                "[fd00:96::a]:80".to_owned(),
                "ClusterIP",
                "IPv6",
                "internal",
                1,
            ),
            (
                node_port(&NODE.to_string()),
                "NodePort",
                "IPv4",
                "external",
                2,
            ),
            (node_port("127.0.0.1"), "NodePort", "IPv4", "external", 2),
            (node_port("::1"), "NodePort", "IPv6", "external", 2),
        ] {
            let frontend = find(&frontends, &address);
            let expected = json!({
                "namespace": "shop", "name": "web", "port": "http", "protocol": "TCP", "family": family,
                "kind": kind, "address": address, "id": frontend["id"], "scope": scope,
                "backends": backends, "outsideBackends": null,
            });
            assert_eq!(*frontend, expected);
        }
        let (wide, _) = output(&shop.agent, &["frontends", "-o", "wide"])?;
        assert_eq!(wide.lines().count(), frontends.len() + 1);
        Ok(())
    });
}

#[test]
fn backends_have_their_ids_and_places() {
    sandboxed(|sandbox| {
        let shop = Shop::start(sandbox)?;
        let backends = objects(&shop.agent, &["backends"])?;
        let tables = dump(&shop.agent)?;
        for family in [Family::IPv4, Family::IPv6] {
            let addresses = shop.servers.addresses(family);
            for (pod, node, zone, is_here) in [
                (0, "node-a", Value::Null, true),
                (1, "node-b", json!("z2"), false),
            ] {
                let address = SocketAddr::new(addresses[pod], crate::support::TARGET).to_string();
                let backend = find(&backends, &address);
                assert_eq!(backend["node"], json!(node));
                assert_eq!(backend["zone"], zone);
                assert_eq!(
                    backend["internal"],
                    json!(is_here),
                    "internalTrafficPolicy: Local"
                );
                assert_eq!(backend["external"], json!(true));
                let line = format!("backend {}  {address}  ", backend["id"]);
                assert!(tables.contains(&line), "{line:?} in {tables}");
            }
        }
        assert_eq!(backends.len(), 4);
        Ok(())
    });
}
