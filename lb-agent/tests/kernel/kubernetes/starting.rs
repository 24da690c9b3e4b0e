//! An API server that has just started answers before it has loaded RBAC and before it serves all kinds.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use anyhow::Result;
use lb_testbed::api_server::{Fault, Kind};
use lb_testbed::{Agent, Sandbox, sandboxed};
use serde_json::json;

use super::{Web, address};
use crate::support::{eventually, failure, status};

/// An address in the cluster's ServiceCIDR that no Service has.
const UNKNOWN: u8 = 77;

/// The cluster has this one ServiceCIDR.
fn apply_service_cidr(web: &Web, cidr: &str) -> Result<()> {
    web.cluster.server.apply(&json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR",
        "metadata": {"name": "kubernetes"}, "spec": {"cidrs": [cidr]},
    }))
}

fn refusing_agent(web: &Web) -> Agent {
    web.cluster.agent.clone().arg("--refuse-unknown")
}

fn is_unknown_refused(web: &Web) -> Result<bool> {
    let error = failure(&web.client, address(UNKNOWN))?;
    Ok(error.kind() == ErrorKind::ConnectionRefused)
}

fn is_refused_with(web: &Web, kind: Kind, code: u16) -> Result<bool> {
    let trouble = web.cluster.watch_of(kind)?.trouble;
    Ok(trouble.is_some_and(|why| why.starts_with(&code.to_string())))
}

#[test]
fn a_server_without_rbac_loaded_removes_no_service_cidr() {
    sandboxed(|sandbox| refused_for_two_seconds(sandbox, 403));
}

#[test]
fn a_server_without_all_kinds_removes_no_service_cidr() {
    sandboxed(|sandbox| refused_for_two_seconds(sandbox, 404));
}

/// A restarted server that has not loaded RBAC, or does not serve all kinds yet.
fn refused_for_two_seconds(sandbox: &Sandbox, code: u16) -> Result<()> {
    let web = Web::new(sandbox, 1, 1)?;
    apply_service_cidr(&web, "10.96.0.0/24")?;
    let _running = refusing_agent(&web).start()?;
    web.wait_for(&[0])?;
    eventually("an unknown address is refused", || is_unknown_refused(&web))?;

    let server = &web.cluster.server;
    server.fail(Fault::answer(code));
    server.cut();
    let end = Instant::now() + Duration::from_secs(2);
    eventually("the agent's request was refused", || {
        is_refused_with(&web, Kind::ServiceCidr, code)
    })?;
    loop {
        assert!(is_unknown_refused(&web)?, "what is known stays in effect");
        if Instant::now() > end {
            break;
        }
    }
    server.heal();
    // It is not given up as if the kind were absent.
    apply_service_cidr(&web, "10.97.0.0/24")?;
    eventually("the new range is in effect", || {
        Ok(!is_unknown_refused(&web)?)
    })?;
    eventually("the trouble is over", || {
        Ok(web.cluster.watch_of(Kind::ServiceCidr)?.trouble.is_none())
    })?;
    assert_eq!(status(&web.cluster.agent)?.problems, [""; 0]);
    web.wait_for(&[0])
}

#[test]
fn an_agent_started_before_rbac_is_loaded_learns_the_service_cidrs() {
    sandboxed(|sandbox| {
        let web = Web::new(sandbox, 1, 1)?;
        apply_service_cidr(&web, "10.96.0.0/24")?;
        let server = &web.cluster.server;
        server.fail(Fault::answer(403));
        let mut running = refusing_agent(&web).spawn()?;
        // Its socket exists once it has the lock.
        running.wait_for_event("source.failed")?;
        eventually("the agent has requested all kinds", || {
            let kinds = [Kind::Service, Kind::ServiceCidr];
            Ok(kinds
                .iter()
                .all(|kind| is_refused_with(&web, *kind, 403).unwrap_or(false)))
        })?;
        server.heal();
        running.wait_ready()?;
        web.wait_for(&[0])?;
        eventually("an unknown address is refused", || is_unknown_refused(&web))
    });
}
