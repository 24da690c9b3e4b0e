//! docs/metrics.md, from the registry.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use lb_agent::agent::{
    AgentMetrics, BackendSample, DriftWatch, KubeProxyMetrics, PodCounts, PortName, Samples,
    ServiceSample,
};
use lb_agent::catalog::{Family, Kind, Protocol, Trigger};
use lb_agent::kernel::{PacketCounters, Refusals};
use lb_agent::serve::TextFormat;
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

";

const TABLE: &str = "\
| metric | type | labels | meaning |
| --- | --- | --- | --- |
";

/// What follows the table.
const KUBE_PROXY: &str = "
## kube-proxy's names

With `--kube-proxy-metrics` the agent serves these too, for dashboards and alerts that use them, with kube-proxy's types, labels and buckets.
The agent puts changes of both address families into effect at once, so both values of `ip_family` have the same durations and times.
`network_programming_duration_seconds` is measured from the annotation `endpoints.kubernetes.io/last-change-trigger-time` of EndpointSlices, so its
accuracy depends on the clocks; changes from before the agent's start are left out.

What has no counterpart is left out: `…_pending` (changes do not wait), full and partial synchronizations, `…_iptables_…`, `…_nftables_…`,
`…_ipvs_…`, `…_no_local_endpoints_total`, `conntrack_reconciler_…`, `rest_client_…`.

";

/// The metrics of an agent, each with a sample.
fn text() -> String {
    let mut metrics = AgentMetrics::default();
    let kube_proxy = KubeProxyMetrics::default();
    kube_proxy.queued(&[]);
    let trigger = Trigger {
        family: Family::Ipv4,
        at: Timestamp::now(),
    };
    kube_proxy.synced(Duration::ZERO, &[trigger]);
    metrics.kube_proxy = Some(kube_proxy);
    metrics.duties.answered("/livez", 200);
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
    metrics.clients.update(PodCounts::default());
    metrics.shadow.update(0, 0, 0);
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
    let mut sample = ServiceSample::default();
    sample.add(&counters);
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
    let text = metrics.registered().text(TextFormat::Prometheus);
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

fn table<'a>(metrics: impl Iterator<Item = (&'a String, &'a Described)>) -> String {
    let mut table = TABLE.to_owned();
    for (name, metric) in metrics {
        let labels = metric.labels.iter().map(|label| format!("`{label}`"));
        let labels = labels.collect::<Vec<_>>().join(", ");
        let help = metric.help.trim_end_matches('.');
        let kind = &metric.kind;
        writeln!(table, "| `{name}` | {kind} | {labels} | {help} |").expect("a string takes it");
    }
    table
}

#[test]
fn the_metrics_page_is_current() {
    let all = described(&text());
    let is_own = |(name, _): &(&String, &Described)| name.starts_with("socklb_");
    let own = table(all.iter().filter(is_own));
    let kube_proxy = table(all.iter().filter(|metric| !is_own(metric)));
    assert!(own.lines().count() > 25, "{own}");
    assert!(kube_proxy.contains("`kubeproxy_"), "{kube_proxy}");
    let page = format!("{HEAD}{own}{KUBE_PROXY}{kube_proxy}");
    crate::check("metrics.md", &page);
}
