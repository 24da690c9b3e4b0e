//! docs/metrics.md, from the registry.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use lb_agent::agent::{AgentMetrics, BackendSample, DriftWatch, PortName, Samples, ServiceSample};
use lb_agent::catalog::{Kind, Protocol};
use lb_agent::kernel::{PacketCounters, Refusals};
use lb_agent::serve::{Metrics, TextFormat};
use lb_agent::sockets::{Ability, EndedCounts};
use lb_agent::source::kubernetes::KindHealth;
use lb_agent::tables::{Counts, Usage};
use lb_common::ServiceCounters;

const HEAD: &str = "\
# Metrics

`lb-agent run --http ADDRESS:PORT` serves these at `/metrics`: in the OpenMetrics format 1.0.0 if the request's `Accept` header asks for
`application/openmetrics-text`, as Prometheus does, and otherwise in Prometheus' text format 0.0.4, which `promtool check metrics` expects.

`--metrics-per none|service|backend` decides which of them name Services and backends. Without it they name Services if the address is a loopback
one, and nothing otherwise. One answer has up to 20,000 ports of Services with five series each (with `--latency` up to 31), and up to 50,000
backends with two; `socklb_metrics_left_out` counts the others. All other labels have values from fixed lists.

Connections of the packet path are not counted by Service: `socklb_packet_connections_total` has their sum. `socklb_service_connections_total` begins
at 0 when the agent starts; the other counters are the kernel's and go on.

| metric | type | labels | meaning |
| --- | --- | --- | --- |
";

/// The metrics of an agent, each with a sample.
fn text() -> String {
    let metrics = AgentMetrics::default();
    let usage = Usage {
        table: "VIEWS",
        used: 0,
        capacity: 1,
    };
    metrics.tables.update(Counts::default(), [&usage]);
    metrics.refusals.update(Refusals::default());
    metrics.packets.update(PacketCounters::default());
    metrics.duties.answered("/healthz", 200);
    let ability = Ability::default();
    metrics.sockets.update(&ability, EndedCounts::default());
    let every = Duration::from_secs(60);
    metrics.drift.update(&DriftWatch::new(every));
    let health = KindHealth {
        last_data: Some(Instant::now()),
        event: Some(Instant::now()),
        ..KindHealth::default()
    };
    metrics.watches.update([(&Kind::Service, &health)]);
    let port = PortName {
        namespace: "default".into(),
        name: "web".into(),
        port: "http".into(),
        protocol: Protocol::Tcp,
    };
    let mut counters = ServiceCounters::NONE;
    counters.smoothed.buckets[0] = 1;
    counters.smallest.buckets[0] = 1;
    let sample = ServiceSample {
        counters: Some(Box::new(counters)),
        ..ServiceSample::default()
    };
    let backend = BackendSample {
        port: port.clone(),
        address: ([10, 0, 0, 1], 80).into(),
        connections: 0,
        active: 0,
    };
    metrics.services.set(Samples {
        services: BTreeMap::from([(port, sample)]),
        backends: vec![backend],
    });
    let metrics = Metrics::new(|registry| metrics.register(registry));
    let text = metrics.text(TextFormat::Prometheus);
    text.expect("a string takes it")
}

/// A metric, as the text format describes it.
#[derive(Debug, Default)]
struct Described {
    kind: String,
    help: String,
    labels: Vec<String>,
}

fn described(text: &str) -> BTreeMap<String, Described> {
    let mut all: BTreeMap<String, Described> = BTreeMap::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a name and a type");
            all.entry(name.to_owned()).or_default().kind = kind.to_owned();
        } else if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect("a name and a text");
            all.entry(name.to_owned()).or_default().help = help.to_owned();
        } else if let Some((sample, labels)) = line.split_once('{')
            && let Some((_, metric)) = all.iter_mut().rev().find(|(name, _)| {
                sample
                    .strip_prefix(name.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
            })
        {
            let labels = labels.split('}').next().unwrap_or_default();
            let names = labels
                .split(',')
                .filter_map(|label| label.split('=').next());
            for name in names.filter(|name| *name != "le") {
                if !metric.labels.iter().any(|known| known == name) {
                    metric.labels.push(name.to_owned());
                }
            }
        }
    }
    all
}

#[test]
fn the_metrics_page_is_current() {
    let text = text();
    let mut wanted = HEAD.to_owned();
    for (name, metric) in described(&text) {
        let labels: Vec<String> = metric
            .labels
            .iter()
            .map(|label| format!("`{label}`"))
            .collect();
        let help = metric.help.trim_end_matches('.');
        writeln!(
            wanted,
            "| `{name}` | {} | {} | {help} |",
            metric.kind,
            labels.join(", ")
        )
        .expect("a string takes it");
    }
    assert!(wanted.lines().count() > 25, "{wanted}");
    crate::check("metrics.md", &wanted);
}
