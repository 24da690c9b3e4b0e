//! `lb-agent backends`.

use anyhow::{Context as _, Result};
use lb_testbed::{ServiceManifest, sandboxed};
use serde_json::{Value, json};

use super::command::{Watched, objects, output};
use crate::support::{PORT, Web, answers, cluster_ip, eventually, status, write_service};

fn addresses(backends: &[Value]) -> Vec<&str> {
    let addresses = backends.iter().map(|backend| backend["address"].as_str());
    addresses.map(Option::unwrap_or_default).collect()
}

#[test]
fn flags_select_namespaces_and_services() {
    sandboxed(|sandbox| {
        let web = Web::start(sandbox, 2, 2)?;
        let pods = web.servers.ipv4();
        write_service(&web.manifests, "db", cluster_ip(11), &pods[..1])?;
        let empty = ServiceManifest::new("web")
            .namespace("shop")
            .cluster_ip(cluster_ip(12))
            .port("http", PORT);
        web.manifests.write("shop.json", [empty.to_json()])?;
        eventually("all Services are balanced", || {
            Ok(status(&web.agent)?.service_ports == 3)
        })?;

        let number = |args: &[&str]| -> Result<usize> {
            let args: Vec<&str> = ["backends"].iter().chain(args).copied().collect();
            Ok(objects(&web.agent, &args)?.len())
        };
        assert_eq!(number(&[])?, 3);
        assert_eq!(number(&["-A", "-n", "shop"])?, 3);
        assert_eq!(number(&["-n", "default"])?, 3);
        assert_eq!(number(&["-n", "shop"])?, 0);
        assert_eq!(number(&["web"])?, 2);
        assert_eq!(number(&["web", "db"])?, 3);
        assert_eq!(number(&["shop/web"])?, 0);
        assert_eq!(number(&["default/db"])?, 1);

        let (table, error) = output(&web.agent, &["backends", "-n", "shop"])?;
        assert_eq!((table.as_str(), error.lines().count()), ("", 1));
        let (table, error) = output(&web.agent, &["backends", "db"])?;
        assert_eq!((table.lines().count(), error.as_str()), (2, ""));
        let (wide, _) = output(&web.agent, &["backends", "db", "-o", "wide"])?;
        assert!(
            wide.lines()
                .all(|line| line.len() > table.lines().map(str::len).max().unwrap_or(0))
        );
        Ok(())
    });
}

#[test]
fn a_watch_prints_what_changes() {
    sandboxed(|sandbox| {
        let web = Web::start(sandbox, 2, 1)?;
        let pods = web.servers.ipv4();
        let of = |pod: usize| format!("{}:8080", pods[pod]);
        let args = ["backends", "web", "-o", "json", "--output-watch-events"];
        let mut watched = Watched::start(&web.agent, &args)?;
        let added = watched.value()?;
        assert_eq!(added["type"], json!("ADDED"));
        assert_eq!(addresses(&[added["object"].clone()]), [of(0)]);

        answers(&web.client, Web::ADDRESS, 5)?;
        let mut counted = 0;
        while counted < 5 {
            let modified = watched.value()?;
            assert_eq!(modified["type"], json!("MODIFIED"));
            assert_eq!(modified["object"]["address"], json!(of(0)));
            counted = modified["object"]["connections"].as_u64().unwrap_or(0);
        }
        write_service(&web.manifests, "web", cluster_ip(10), &pods[1..])?;
        let mut seen = Vec::new();
        while !seen.contains(&("DELETED".to_owned(), of(0))) {
            let change = watched.value()?;
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            seen.push((text(&change["type"]), text(&change["object"]["address"])));
        }
        assert!(seen.contains(&("ADDED".to_owned(), of(1))), "{seen:?}");
        Ok(())
    });
}

#[test]
fn rates_are_those_since_the_last_answer() {
    sandboxed(|sandbox| {
        let web = Web::start(sandbox, 1, 1)?;
        let mut watched = Watched::start(&web.agent, &["backends", "-o", "json"])?;
        assert_eq!(watched.value()?["connectionsPerSecond"], json!(0.0));
        answers(&web.client, Web::ADDRESS, 40)?;
        let mut fastest: f64 = 0.0;
        loop {
            let backend = watched.value()?;
            let rate = backend["connectionsPerSecond"].as_f64();
            let rate = rate.context("the backend was in the last answer")?;
            fastest = fastest.max(rate);
            if backend["connections"] == json!(40) && rate == 0.0 {
                break;
            }
        }
        // Between two answers there is at least a second, and the connects may be before and after one.
        assert!(fastest > 0.0 && fastest <= 40.0, "{fastest}");

        let (table, _) = output(&web.agent, &["backends"])?;
        let cells = |line: usize| table.lines().nth(line).map(|line| line.split_whitespace());
        let rate = cells(0)
            .into_iter()
            .flatten()
            .zip(cells(1).into_iter().flatten())
            .find(|(head, _)| *head == "RATE/S");
        assert_eq!(rate, Some(("RATE/S", "0.0")));
        Ok(())
    });
}

#[test]
fn yaml_contains_what_json_does() {
    sandboxed(|sandbox| {
        let web = Web::start(sandbox, 1, 1)?;
        let json = objects(&web.agent, &["backends"])?;
        let (yaml, _) = output(&web.agent, &["backends", "-o", "yaml"])?;
        let address = format!("address: {}:8080", web.servers.ipv4()[0]);
        assert!(yaml.contains(&address), "{yaml}");
        assert_eq!(
            yaml.lines().count(),
            json[0].as_object().map_or(0, |fields| fields.len())
        );
        Ok(())
    });
}
