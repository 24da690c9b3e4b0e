//! `lb-agent explain` beside what connects get.

use std::io::ErrorKind;
use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use lb_testbed::{Agent, sandboxed};
use serde_json::Value;

use super::command::command;
use super::shop::{NODE, NODE_PORT, Shop};
use crate::support::{PORT, TARGET, answers, cluster_ip, eventually, failure, write_service};

/// The exit status, and the explanation.
fn explain(agent: &Agent, target: &str) -> Result<(i32, Value)> {
    let output = command(agent, ["explain", target, "-o", "json"]).output()?;
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
