//! The agent without CAP_SYS_ADMIN and CAP_SYS_PTRACE.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::thread;

use anyhow::{Context as _, Result, ensure};
use lb_testbed::{Sandbox, sandboxed};
use rustix::thread::{CapabilitySet, remove_capability_from_bounding_set};
use socket2::Domain;

use super::{
    ask_again, asked, connected, connected_here, connected_in, kinds, wait_for_counts,
    wait_until_ended,
};
use crate::dns::Dns;
use crate::support::status;

const HTTP: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 10_356);

/// All metrics.
fn metrics(sandbox: &Sandbox) -> Result<String> {
    sandbox.namespace().enter(|| {
        let mut stream = TcpStream::connect(HTTP)?;
        write!(
            stream,
            "GET /metrics HTTP/1.1\r\nHost: {HTTP}\r\nConnection: close\r\n\r\n"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    })?
}

fn check_metrics(sandbox: &Sandbox, lines: &[&str]) -> Result<()> {
    let text = metrics(sandbox)?;
    for line in lines {
        ensure!(text.lines().any(|of| of == *line), "{line}: not in {text}");
    }
    Ok(())
}

#[test]
fn metrics_count_ended_sockets() {
    sandboxed(|sandbox| {
        let http = HTTP.to_string();
        let dns = Dns::start_with(sandbox, 2, &[&[0]], |agent| agent.arg("--http").arg(http))?;
        let sockets = connected_in(&dns.client)?;
        dns.write(1, [(1, true, true)].into_iter())?;
        sockets.iter().try_for_each(wait_until_ended)?;
        wait_for_counts(&dns.agent, 3, 0)?;
        let log = dns.running.log();
        ensure!(log.warnings().is_empty(), "{log}");
        check_metrics(
            sandbox,
            &[
                "socklb_sockets_terminated_total{protocol=\"udp\"} 3",
                "socklb_sockets_terminated_total{protocol=\"tcp\"} 0",
                "socklb_socket_termination_failures_total 0",
                "socklb_socket_termination_available{namespaces=\"own\"} 1",
                "socklb_socket_termination_available{namespaces=\"others\"} 1",
            ],
        )
    });
}

#[test]
fn without_capabilities_only_sockets_of_its_own_namespace_are_ended() {
    sandboxed(|sandbox| {
        thread::scope(|scope| {
            // A process of root gets the bounding set of the thread that starts it.
            let body = || -> Result<()> {
                remove_capability_from_bounding_set(CapabilitySet::SYS_ADMIN)?;
                limited(sandbox)
            };
            let body = scope.spawn(body);
            body.join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    });
}

fn limited(sandbox: &Sandbox) -> Result<()> {
    let http = HTTP.to_string();
    let dns = Dns::start_with(sandbox, 2, &[&[0]], |agent| agent.arg("--http").arg(http))?;
    let log = dns.running.log();
    let mut warned = log.events("sockets.end_only_own_namespace");
    let warned = warned.next().context("no warning")?;
    assert_eq!(warned["protocols"], "UDP");
    assert_eq!(warned["error"], "CAP_SYS_ADMIN missing");
    let of_pod = connected_in(&dns.client)?;
    let of_node = sandbox.namespace().enter(connected_here)??;
    dns.write(1, [(1, true, true)].into_iter())?;
    for (socket, (_, to)) in of_node.iter().zip(kinds()) {
        wait_until_ended(socket)?;
        assert_eq!(ask_again(socket, to)?, dns.pods[1].name());
    }
    for socket in &of_pod {
        assert_eq!(asked(socket)?, dns.pods[0].name());
    }
    // The agent still balances.
    let new = dns
        .client
        .enter(|| asked(&connected(Domain::IPV4, kinds()[0].1)?).context("no answer"))??;
    assert_eq!(new, dns.pods[1].name());
    wait_for_counts(&dns.agent, 3, 0)?;
    let status = status(&dns.agent)?.socket_termination;
    ensure!(status.own_namespace && !status.other_namespaces);
    assert_eq!(status.lack.as_deref(), Some("CAP_SYS_ADMIN missing"));
    check_metrics(
        sandbox,
        &[
            "socklb_sockets_terminated_total{protocol=\"udp\"} 3",
            "socklb_socket_termination_available{namespaces=\"own\"} 1",
            "socklb_socket_termination_available{namespaces=\"others\"} 0",
        ],
    )
}
