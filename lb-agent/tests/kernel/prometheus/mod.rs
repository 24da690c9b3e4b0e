//! Metrics as Prometheus gets them: their formats, and promtool's opinion of them.

mod queries;

use std::env;
use std::ffi::OsString;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use lb_testbed::{AgentProcess, CLUSTER_CIDRS, Sandbox, connect, connect_name, sandboxed};
use serde_json::json;

use crate::kubernetes::{Web, address, slice};
use crate::support::{HTTP, eventually, get};

/// Environment variable: the path of promtool.
const PROMTOOL: &str = "SOCKLB_TEST_PROMTOOL";

const HEALTHZ: SocketAddr = SocketAddr::new(HTTP.ip(), 10_256);

/// What the server of metrics answers.
struct Scrape {
    content_type: String,
    text: String,
}

/// Scrapes the metrics with this header, if any.
fn scrape(accept: Option<&str>) -> Result<Scrape> {
    let (code, head, text) = ask(HTTP, "/metrics", accept)?;
    ensure!(code == 200, "{code} {text}");
    let headers = head.lines().filter_map(|line| line.split_once(": "));
    let mut types = headers.filter(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    let content_type = types.next().context("no content type")?.1.to_owned();
    Ok(Scrape { content_type, text })
}

/// The status code, the headers and the body of an answer.
fn ask(to: SocketAddr, path: &str, accept: Option<&str>) -> Result<(u16, String, String)> {
    let mut stream = TcpStream::connect(to)?;
    let accept = accept.map_or_else(String::new, |value| format!("Accept: {value}\r\n"));
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: agent\r\n{accept}Connection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let code = answer.split(' ').nth(1).unwrap_or_default().parse()?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no body")?;
    Ok((code, head.to_owned(), body.to_owned()))
}

/// An agent with all groups of metrics but those of shadow mode and of selected pods, after traffic that gives each of them a sample.
struct Measured {
    web: Web,
    running: AgentProcess,
}

impl Measured {
    fn start(sandbox: &Sandbox) -> Result<Self> {
        let web = Web::new(sandbox, 2, 2)?;
        web.cluster.apply_service("empty", 11, &[])?;
        let agent = web
            .cluster
            .agent_with_http()
            .arg("--latency")
            .arg("--metrics-per=backend")
            .arg("--packet-path=on")
            .arg(format!("--cluster-cidr={}", CLUSTER_CIDRS.join(",")))
            .arg(format!("--healthz={HEALTHZ}"));
        let running = agent.start()?;
        eventually("the Services are served", || Ok(get("readyz")?.0 == 200))?;
        web.client.enter(|| -> Result<()> {
            for _ in 0..10 {
                connect_name(address(Web::NUMBER))?;
            }
            ensure!(connect(address(11)).is_err());
            Ok(())
        })??;
        ask(HEALTHZ, "/healthz", None)?;
        Ok(Self { web, running })
    }

    /// Ends the agent, and starts another one in shadow mode and with a selection of pods.
    fn look_on(&mut self) -> Result<()> {
        self.running.terminate()?;
        let agent = self.web.cluster.agent_with_http();
        self.running = agent.arg("--shadow").arg("--pods=").start()?;
        eventually("the Services are known", || Ok(get("readyz")?.0 == 200))
    }
}

/// promtool, with its arguments.
fn promtool(arguments: &[&str], input: &str) -> Result<()> {
    let path = env::var_os(PROMTOOL).unwrap_or_else(|| OsString::from("promtool"));
    let mut child = Command::new(&path)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| {
            format!(
                "cannot start {}: run this test by `cargo xtask test kernel -- prometheus::`, which gets promtool, or set {PROMTOOL} to its path",
                path.display()
            )
        })?;
    let mut stdin = child.stdin.take().context("it has an input")?;
    stdin.write_all(input.as_bytes())?;
    drop(stdin);
    let output = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success() && said.is_empty(), "{said}");
    Ok(())
}

#[test]
fn promtool_has_no_complaint_about_the_metrics() {
    sandboxed(|sandbox| {
        let mut measured = Measured::start(sandbox)?;
        let usual = scrape(None)?;
        for family in [
            "socklb_build_info gauge",
            "socklb_service_connections_total counter",
            "socklb_service_rtt_seconds histogram",
            "socklb_backend_connections_total counter",
            "socklb_packet_connections_total counter",
            "socklb_healthz_answers_total counter",
            "socklb_source_listed gauge",
            "socklb_drift_repairs_total counter",
        ] {
            ensure!(
                usual.text.contains(&format!("\n# TYPE {family}\n")),
                "{family}"
            );
        }
        // promtool does not miss the last bucket.
        ensure!(
            usual
                .text
                .contains("le=\"+Inf\",namespace=\"default\",service=\"web\"")
        );
        promtool(&["check", "metrics"], &usual.text)?;

        measured.look_on()?;
        let looking_on = scrape(None)?;
        for sample in [
            "socklb_pods{state=\"not_found\"} 0",
            "socklb_shadow_flows_total{result=\"different\"} 0",
            "socklb_shadow_overruns_total 0",
        ] {
            let line = format!("\n{sample}\n");
            ensure!(looking_on.text.contains(&line), "{}", looking_on.text);
        }
        promtool(&["check", "metrics"], &looking_on.text)
    });
}

#[test]
fn a_client_gets_the_format_that_it_asks_for() {
    sandboxed(|sandbox| {
        let _measured = Measured::start(sandbox)?;
        let plain = scrape(None)?;
        assert_eq!(
            plain.content_type,
            "text/plain; version=0.0.4; charset=utf-8"
        );
        for absent in ["# UNIT", "# EOF", " info\n"] {
            assert!(!plain.text.contains(absent), "{absent}");
        }
        // Prometheus' own header.
        let open = scrape(Some(
            "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1",
        ))?;
        assert_eq!(
            open.content_type,
            "application/openmetrics-text; version=1.0.0; charset=utf-8"
        );
        assert!(open.text.ends_with("\n# EOF\n"));
        assert!(
            open.text
                .contains("\n# TYPE socklb_service_connections counter\n")
        );
        assert!(
            open.text
                .contains("\n# UNIT socklb_service_rtt_seconds seconds\n")
        );
        // The same samples in the same order.
        let names = |text: &str| -> Vec<String> {
            let samples = text.lines().filter(|line| !line.starts_with('#'));
            let names = samples.filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned()));
            names.collect()
        };
        assert!(names(&open.text).len() > 100);
        assert_eq!(names(&open.text), names(&plain.text));
        Ok(())
    });
}

#[test]
fn kube_proxys_names_are_served_on_request() {
    sandboxed(|sandbox| {
        let web = Web::new(sandbox, 2, 1)?;
        let agent = web.cluster.agent_with_http();
        let mut running = agent.start()?;
        assert!(!scrape(None)?.text.contains("kubeproxy_"));
        running.terminate()?;

        let _running = agent
            .arg("--kube-proxy-metrics")
            .arg(format!("--healthz={HEALTHZ}"))
            .start()?;
        ask(HEALTHZ, "/livez", None)?;
        let value = |series: &str| -> Result<f64> {
            let text = scrape(None)?.text;
            let found = text.lines().find_map(|line| line.strip_prefix(series));
            Ok(found
                .with_context(|| format!("no {series}"))?
                .trim()
                .parse()?)
        };
        let endpoint_changes = "kubeproxy_sync_proxy_rules_endpoint_changes_total ";
        let before = value(endpoint_changes)?;

        // As the control plane writes it: a pod has become ready now. What happened before the agent's start does not count.
        let mut slice = slice("web")
            .addresses(web.servers.ipv4().iter().copied())
            .to_json();
        let trigger = Timestamp::now();
        slice["metadata"]["annotations"] =
            json!({"endpoints.kubernetes.io/last-change-trigger-time": trigger.to_string()});
        web.cluster.server.apply(&slice)?;
        web.wait_for(&[0, 1])?;
        let programming = |series: &str, label: &str| {
            value(&format!(
                "kubeproxy_network_programming_duration_seconds_{series}{{{label}ip_family=\"IPv4\"}} "
            ))
        };
        assert_eq!(programming("count", "")?, 1.0);
        let sum = programming("sum", "")?;
        let since = Timestamp::now().duration_since(trigger).as_secs_f64();
        assert!(0.0 < sum && sum < since, "{sum} of {since}");
        assert_eq!(programming("bucket", "le=\"0.0\",")?, 0.0);
        assert_eq!(programming("bucket", "le=\"+Inf\",")?, 1.0);
        assert!(value(endpoint_changes)? > before);
        assert_eq!(
            value("kubeproxy_sync_proxy_rules_service_changes_total ")?,
            1.0
        );
        assert_eq!(value("kubeproxy_proxy_livez_total{code=\"200\"} ")?, 1.0);
        let now = Timestamp::now().as_second() as f64;
        for family in ["IPv4", "IPv6"] {
            let of = |name: &str| {
                value(&format!(
                    "kubeproxy_sync_proxy_rules_{name}{{ip_family=\"{family}\"}} "
                ))
            };
            let (queued, synced) = (
                of("last_queued_timestamp_seconds")?,
                of("last_timestamp_seconds")?,
            );
            assert!(
                queued <= synced && now - synced < 600.0,
                "{queued} {synced}"
            );
            assert!(of("duration_seconds_count")? >= 2.0);
            assert!(of("duration_seconds_sum")? > 0.0);
        }
        promtool(&["check", "metrics"], &scrape(None)?.text)
    });
}
