//! docs/metrics.md, from the registry.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use lb_agent::serve::{Metrics, Status};
use serde_json::json;

const HEAD: &str = "\
# Metrics

`lb-agent run --http ADDRESS:PORT` serves these at `/metrics`, in the OpenMetrics text format. Labels have values from fixed lists: no
metric names a Service or a pod.

| metric | type | labels | meaning |
| --- | --- | --- | --- |
";

/// A status in which everything occurs that has metrics.
fn status() -> Status {
    let status = json!({
        "version": "", "nodeName": "", "cgroup": "", "pinDir": "", "ready": true,
        "source": {"kind": "kubernetes", "from": "", "watches": [{
            "kind": "Service", "listed": true, "lists": 1, "errors": 0, "heardSecondsAgo": 1.0,
            "eventSecondsAgo": 1.0, "trouble": null, "troubleSeconds": null,
        }]},
        "syncs": {"count": 0, "lastMicros": 0, "firstCpuMicros": 0, "firstTablesCpuMicros": 0},
        "hooks": [],
        "drift": {"checks": 1, "checkedSecondsAgo": 1.0, "repairs": {"VIEWS": 1}, "trouble": []},
        "services": 0, "endpointSlices": 0, "servicePorts": 0, "frontends": 0, "backends": 0,
        "resting": 0, "tables": [{"table": "VIEWS", "used": 0, "capacity": 1}],
        "servicePortsRefused": 0, "refusedNoBackend": 0, "refusedUnknownPort": 0,
        "refusedUnknownAddress": 0,
        "socketTermination": {"ownNamespace": true, "otherNamespaces": true, "lack": null,
            "includesTcp": false, "udp": 0, "tcp": 0, "failures": 0},
        "problems": [],
    });
    serde_json::from_value(status).expect("it has all fields")
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
fn the_page_has_every_metric() {
    let metrics = Metrics::new();
    let text = metrics.text(&status()).expect("a string takes it");
    let mut wanted = HEAD.to_owned();
    for (name, metric) in described(&text) {
        // What Prometheus calls it: the text format gives counters and infos a suffix.
        let name = match metric.kind.as_str() {
            "counter" => format!("{name}_total"),
            "info" => format!("{name}_info"),
            _ => name,
        };
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
