//! The ports on which load balancers ask: opened, closed, and busy ones.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};

use anyhow::{Context as _, Result};
use lb_agent::catalog::{Family, ObjectName};
use lb_agent::duties::DutyMetrics;
use lb_agent::duties::health::{HealthReporter, HealthServers, HealthSettings, NodeEligibility};
use lb_agent::policy::HealthCheck;
use lb_testbed::sandboxed;

use crate::support::eventually;

const HEALTHZ: u16 = 10_256;

const IPV4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const IPV6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

fn start(healthz: Option<SocketAddr>) -> Result<(HealthReporter, HealthServers)> {
    let reporter = HealthReporter::default();
    let servers = HealthServers::start(HealthSettings {
        healthz,
        health: reporter.view(),
        metrics: DutyMetrics::default(),
    })?;
    Ok((reporter, servers))
}

fn services(checks: &[(&str, u16, usize)]) -> BTreeMap<ObjectName, HealthCheck> {
    let check = |&(name, port, local_endpoints): &(&str, u16, usize)| {
        let check = HealthCheck {
            port,
            local_endpoints,
        };
        (ObjectName::new("a", name), check)
    };
    checks.iter().map(check).collect()
}

/// The whole answer to a GET, and its code.
fn get(address: IpAddr, port: u16, path: &str) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect((address, port))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: node\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let code = answer
        .split(' ')
        .nth(1)
        .context("no status line")?
        .parse()?;
    Ok((code, answer))
}

/// Waits until a GET of any path gets this code and number of endpoints.
fn answers(address: IpAddr, port: u16, code: u16, local_endpoints: usize) -> Result<()> {
    let weight = format!("x-load-balancing-endpoint-weight: {local_endpoints}\r\n");
    eventually(
        &format!("{code} and {weight:?} at {address} {port}"),
        || {
            let answer = get(address, port, "/");
            Ok(answer.is_ok_and(|(is, text)| is == code && text.contains(&weight)))
        },
    )
}

/// Waits until nothing listens there.
fn is_closed(address: IpAddr, port: u16) -> Result<()> {
    eventually(&format!("{address} {port} closed"), || {
        Ok(TcpStream::connect((address, port)).is_err())
    })
}

#[test]
fn the_nodes_health_is_served_in_both_families_without_the_main_loop() {
    sandboxed(|_| {
        let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, HEALTHZ));
        let (reporter, servers) = start(Some(any))?;
        reporter.updated(&[Family::Ipv4, Family::Ipv6]);
        for address in [IPV4, IPV6] {
            reporter.set_node(NodeEligibility::Eligible);
            eventually("200 on /healthz", || {
                Ok(get(address, HEALTHZ, "/healthz").is_ok_and(|(code, _)| code == 200))
            })?;
            reporter.set_node(NodeEligibility::ToBeDeleted);
            assert_eq!(get(address, HEALTHZ, "/healthz")?.0, 503);
            assert_eq!(get(address, HEALTHZ, "/livez")?.0, 200);
            assert_eq!(get(address, HEALTHZ, "/metrics")?.0, 404);
        }
        assert_eq!(servers.problems(), []);
        servers.close();
        is_closed(IPV4, HEALTHZ)?;
        // The next agent on this node can listen at once.
        let (_reporter, servers) = start(Some(any))?;
        eventually("503 without a Node", || {
            Ok(get(IPV6, HEALTHZ, "/healthz").is_ok_and(|(code, _)| code == 503))
        })?;
        assert_eq!(servers.problems(), []);
        Ok(())
    });
}

/// The sequence of `TestServer` in kube-proxy's healthcheck_test.go.
#[test]
fn servers_follow_the_services() {
    sandboxed(|_| {
        let (_reporter, servers) = start(None)?;
        servers.set_services(&services(&[("b", 9376, 0)]));
        answers(IPV4, 9376, 503, 0)?;
        answers(IPV6, 9376, 503, 0)?;
        servers.set_services(&services(&[("b", 9376, 18)]));
        answers(IPV4, 9376, 200, 18)?;
        servers.set_services(&services(&[
            ("b", 9376, 9),
            ("d", 12_909, 3),
            ("f", 11_113, 7),
        ]));
        answers(IPV4, 9376, 200, 9)?;
        answers(IPV4, 12_909, 200, 3)?;
        answers(IPV4, 11_113, 200, 7)?;
        // One goes, one stays, one has another port, and one is new on the port that became free.
        servers.set_services(&services(&[
            ("d", 12_909, 3),
            ("f", 11_114, 0),
            ("h", 11_113, 6),
        ]));
        is_closed(IPV4, 9376)?;
        answers(IPV4, 12_909, 200, 3)?;
        answers(IPV4, 11_114, 503, 0)?;
        answers(IPV4, 11_113, 200, 6)?;
        let (_, answer) = get(IPV4, 11_113, "/")?;
        assert!(answer.contains("\"name\": \"h\""), "{answer}");

        servers.set_addresses(Some(vec![IPV4]));
        is_closed(IPV6, 11_113)?;
        answers(IPV4, 11_113, 200, 6)?;
        servers.set_addresses(None);
        answers(IPV6, 11_113, 200, 6)?;
        assert_eq!(servers.problems(), []);
        Ok(())
    });
}

#[test]
fn a_busy_port_is_a_problem_until_it_is_free() {
    sandboxed(|_| {
        let other = TcpListener::bind((IPV4, 9376))?;
        let healthz = SocketAddr::new(IPV4, 9376);
        let (_reporter, servers) = start(Some(healthz))?;
        servers.set_services(&services(&[("b", 9376, 1), ("d", 9377, 2)]));
        eventually("two problems", || Ok(servers.problems().len() == 2))?;
        let problems: Vec<String> = servers.problems().iter().map(ToString::to_string).collect();
        assert!(
            problems[0].starts_with("--healthz 127.0.0.1:9376: "),
            "{problems:?}"
        );
        assert!(problems[1].starts_with("Service a/b: "), "{problems:?}");
        assert!(problems[1].contains("9376"), "{problems:?}");
        answers(IPV4, 9377, 200, 2)?;

        servers.set_services(&services(&[("d", 9377, 2)]));
        eventually("one problem", || Ok(servers.problems().len() == 1))?;
        drop(other);
        eventually("no problem", || Ok(servers.problems().is_empty()))?;
        assert_eq!(get(IPV4, 9376, "/livez")?.0, 200);
        Ok(())
    });
}
