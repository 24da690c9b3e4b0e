//! Metrics that name Services: connections, refused calls, failures, round-trip times.

use std::io::ErrorKind;
use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use lb_testbed::{NamedServer, Sandbox, connect, connect_name, sandboxed};

use crate::support::{
    HTTP, PORT, Servers, TARGET, agent, cluster_ip, eventually, get, write_service,
};

/// The value of a metric for the Service `name`.
fn metric(metric: &str, name: &str) -> Result<f64> {
    let text = get("metrics")?.1;
    let labels =
        format!("{{namespace=\"default\",service=\"{name}\",port=\"http\",protocol=\"TCP\"");
    let line = text.lines().find(|line| {
        let rest = line.strip_prefix(metric);
        rest.is_some_and(|rest| rest.starts_with(&labels))
    });
    let value = line.and_then(|line| line.rsplit(' ').next());
    let value = value.with_context(|| format!("no {metric} of {name} in\n{text}"))?;
    Ok(value.parse()?)
}

fn to(number: u8) -> SocketAddr {
    (cluster_ip(number), PORT).into()
}

fn agent_with(sandbox: &Sandbox, manifests: &lb_testbed::Manifests) -> lb_testbed::Agent {
    agent(sandbox, manifests)
        .arg("--http")
        .arg(HTTP.to_string())
}

#[test]
fn connections_refusals_and_failures_are_counted_for_each_service() {
    sandboxed(|sandbox| {
        let servers = Servers::start(sandbox, 2)?;
        let pods = servers.ipv4();
        let (client, deaf) = (sandbox.pod("client")?, sandbox.pod("deaf")?);
        let manifests = sandbox.manifests()?;
        write_service(&manifests, "web", cluster_ip(10), &pods[..1])?;
        write_service(&manifests, "empty", cluster_ip(11), &[])?;
        write_service(&manifests, "deaf", cluster_ip(12), &[deaf.ipv4().into()])?;
        let agent = agent_with(sandbox, &manifests);
        let mut running = agent.start()?;

        client.enter(|| -> Result<()> {
            for _ in 0..5 {
                connect_name(to(10))?;
            }
            for number in [11, 11, 11, 12, 12] {
                let refused = connect(to(number)).map_err(|error| error.kind());
                ensure!(refused.err() == Some(ErrorKind::ConnectionRefused));
            }
            Ok(())
        })??;
        let kept = client.enter(|| connect(to(10)))??;
        assert_eq!(metric("socklb_service_connections_total", "web")?, 6.0);
        assert_eq!(metric("socklb_service_active_connections", "web")?, 1.0);
        assert_eq!(metric("socklb_service_backends", "web")?, 1.0);
        assert_eq!(
            metric("socklb_service_failed_connections_total", "web")?,
            0.0
        );
        assert_eq!(metric("socklb_service_refused_calls_total", "web")?, 0.0);
        assert_eq!(metric("socklb_service_refused_calls_total", "empty")?, 3.0);
        assert_eq!(metric("socklb_service_backends", "empty")?, 0.0);
        assert_eq!(
            metric("socklb_service_failed_connections_total", "deaf")?,
            2.0
        );
        assert_eq!(metric("socklb_service_refused_calls_total", "deaf")?, 0.0);

        // Another backend takes the place of the first: the count of the Service goes on.
        write_service(&manifests, "web", cluster_ip(10), &pods[1..])?;
        eventually("the backend is replaced", || {
            let name = client.enter(|| connect_name(to(10)))??;
            Ok(name == servers.pods[1].name())
        })?;
        let before = metric("socklb_service_connections_total", "web")?;
        assert!(before >= 7.0, "{before}");
        drop(kept);

        // The next agent counts from 0, as Prometheus expects of a new process. The failures are the kernel's own.
        running.kill()?;
        let _running = agent.start()?;
        assert_eq!(metric("socklb_service_connections_total", "web")?, 0.0);
        client.enter(|| connect_name(to(10)))??;
        assert_eq!(metric("socklb_service_connections_total", "web")?, 1.0);
        assert_eq!(
            metric("socklb_service_failed_connections_total", "deaf")?,
            2.0
        );
        Ok(())
    });
}

#[test]
fn round_trip_times_are_measured_on_request() {
    sandboxed(|sandbox| {
        let pod = sandbox.pod("server")?;
        let _server = NamedServer::tcp(&pod, TARGET, "server")?;
        let _other = NamedServer::tcp(&pod, TARGET + 1, "server")?;
        let client = sandbox.pod("client")?;
        let manifests = sandbox.manifests()?;
        write_service(&manifests, "web", cluster_ip(10), &[pod.ipv4().into()])?;
        let agent = agent_with(sandbox, &manifests);
        let mut running = agent.start()?;
        client.enter(|| connect_name(to(10)))??;
        assert!(!get("metrics")?.1.contains("rtt"));

        running.terminate()?;
        let _running = agent.arg("--latency").start()?;
        client.enter(|| -> Result<()> {
            for _ in 0..20 {
                connect_name(to(10))?;
            }
            // Not through a Service.
            connect_name((pod.ipv4(), TARGET + 1))?;
            Ok(())
        })??;
        for name in [
            "socklb_service_rtt_seconds",
            "socklb_service_min_rtt_seconds",
        ] {
            assert_eq!(metric(&format!("{name}_count"), "web")?, 20.0);
            let sum = metric(&format!("{name}_sum"), "web")?;
            assert!(sum > 0.0 && sum < 20.0 * 0.1, "{name} {sum}");
        }
        let smallest = metric("socklb_service_min_rtt_seconds_sum", "web")?;
        assert!(smallest <= metric("socklb_service_rtt_seconds_sum", "web")?);
        Ok(())
    });
}

#[test]
fn metrics_name_no_service_unless_asked_beyond_loopback() {
    sandboxed(|sandbox| {
        let servers = Servers::start(sandbox, 1)?;
        let manifests = sandbox.manifests()?;
        write_service(&manifests, "web", cluster_ip(10), &servers.ipv4())?;
        let everywhere = || {
            agent(sandbox, &manifests)
                .arg("--http")
                .arg("0.0.0.0:10356")
        };
        let mut running = everywhere().start()?;
        assert!(!get("metrics")?.1.contains("service=\"web\""));
        running.terminate()?;

        let mut running = everywhere().arg("--metrics-per").arg("service").start()?;
        let text = get("metrics")?.1;
        assert!(text.contains("service=\"web\"") && !text.contains("backend=\""));
        running.terminate()?;

        let _running = everywhere().arg("--metrics-per").arg("backend").start()?;
        let backend = format!("backend=\"{}:{TARGET}\"", servers.pods[0].ipv4());
        assert!(get("metrics")?.1.contains(&backend));
        Ok(())
    });
}
