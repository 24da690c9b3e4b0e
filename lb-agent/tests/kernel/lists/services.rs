//! `lb-agent services`.

use std::net::SocketAddr;

use lb_testbed::{ServiceManifest, connect, sandboxed};
use serde_json::json;

use super::command::{objects, output};
use super::shop::{NODE_PORT, Shop};
use crate::support::{
    PORT, Servers, Web, agent, answers, cluster_ip, eventually, failure, write_service,
};

#[test]
fn a_service_is_listed_with_its_settings_and_sums() {
    sandboxed(|sandbox| {
        let shop = Shop::start(sandbox)?;
        answers(&shop.client, Shop::ADDRESS, 4)?;
        let _open = shop.client.enter(|| connect(Shop::ADDRESS))??;
        let services = objects(&shop.agent, &["services"])?;
        let node_frontends = services[0]["frontends"].as_u64();
        assert_eq!(
            services,
            [json!({
                "namespace": "shop", "name": "web", "type": "NodePort",
                "clusterIPs": [cluster_ip(10), "fd00:96::a"],
                "ports": [{"name": "http", "protocol": "TCP", "port": PORT, "nodePort": NODE_PORT}],
                "algorithm": "round-robin", "affinitySeconds": 10_800, "drainSeconds": 30,
                "internalTrafficPolicy": "Local", "externalTrafficPolicy": "Cluster",
                "frontends": node_frontends,
                "backends": {"used": 4, "serving": 4, "total": 4},
                "connections": 5, "connectionsSinceStart": 5, "active": 1,
                "refused": 0, "failed": 0, "roundTrips": null, "problems": [],
            })]
        );
        // A ClusterIP and loopback in each family, and the node's address.
        assert!(node_frontends >= Some(5), "{node_frontends:?}");

        let (table, _) = output(&shop.agent, &["services"])?;
        let row: Vec<&str> = table
            .lines()
            .nth(1)
            .unwrap_or_default()
            .split_whitespace()
            .collect();
        let ports = format!("{PORT}:{NODE_PORT}/TCP");
        let expected = [
            "shop",
            "web",
            "NodePort",
            "10.96.0.10,fd00:96::a",
            &ports,
            "round-robin",
            "4/4",
            "5",
            "1",
            "0",
        ];
        assert_eq!(row, expected);
        Ok(())
    });
}

#[test]
fn services_with_problems_are_listed_and_headless_ones_are_not() {
    sandboxed(|sandbox| {
        let shop = Shop::start(sandbox)?;
        let missing = ServiceManifest::new("missing").port("http", PORT);
        let headless = ServiceManifest::new("headless")
            .spec("clusterIP", json!("None"))
            .port("http", PORT);
        // The address is another Service's, which precedes this one by its name.
        let second = ServiceManifest::new("web-2")
            .namespace("shop")
            .cluster_ip(Shop::ADDRESS.ip())
            .port("http", PORT);
        let more = [missing, headless, second];
        let more = more.iter().map(ServiceManifest::to_json);
        shop.manifests.write("more.json", more)?;
        eventually("three Services are listed", || {
            Ok(objects(&shop.agent, &["services"])?.len() == 3)
        })?;
        let services = objects(&shop.agent, &["services", "missing", "web-2"])?;
        let found: Vec<_> = services
            .iter()
            .map(|service| {
                let problems = service["problems"].as_array().map_or(0, Vec::len);
                let ports = service["ports"].as_array().map_or(0, Vec::len);
                (
                    service["name"].clone(),
                    ports,
                    service["frontends"].clone(),
                    problems,
                )
            })
            .collect();
        assert_eq!(
            found,
            [
                (json!("missing"), 0, json!(0), 1),
                (json!("web-2"), 1, json!(0), 1)
            ]
        );
        Ok(())
    });
}

#[test]
fn errors_and_round_trip_times_are_listed() {
    sandboxed(|sandbox| {
        let servers = Servers::start(sandbox, 1)?;
        let (client, deaf) = (sandbox.pod("client")?, sandbox.pod("deaf")?);
        let manifests = sandbox.manifests()?;
        write_service(&manifests, "web", cluster_ip(10), &servers.ipv4())?;
        write_service(&manifests, "empty", cluster_ip(11), &[])?;
        write_service(&manifests, "deaf", cluster_ip(12), &[deaf.ipv4().into()])?;
        let agent = agent(sandbox, &manifests).arg("--latency");
        let _running = agent.start()?;
        answers(&client, Web::ADDRESS, 3)?;
        for number in [11, 11, 12] {
            failure(&client, SocketAddr::from((cluster_ip(number), PORT)))?;
        }
        let services = objects(&agent, &["services"])?;
        let counted = |name: &str| {
            let service = services
                .iter()
                .find(|service| service["name"] == json!(name));
            let service = service.unwrap_or_else(|| panic!("{name} in {services:?}"));
            let number = |key: &str| service[key].as_u64();
            let times = service["roundTrips"]["buckets"].as_array();
            let times =
                times.map(|times| times.iter().filter_map(|time| time.as_u64()).sum::<u64>());
            (
                number("connectionsSinceStart"),
                number("refused"),
                number("failed"),
                times,
            )
        };
        assert_eq!(counted("web"), (Some(3), Some(0), Some(0), Some(3)));
        assert_eq!(counted("empty"), (Some(0), Some(2), Some(0), None));
        assert_eq!(counted("deaf"), (Some(1), Some(0), Some(1), None));
        Ok(())
    });
}
