//! Grafana's JSON model of a dashboard, in the form that is exported for import elsewhere: the data source is asked for.

use serde_json::{Value, json};

use crate::dashboard::{Panel, Row};

/// In Grafana's columns and lines.
const ROW_WIDTH: u32 = 24;
const STAT: (u32, u32) = (4, 4);
const GRAPH: (u32, u32) = (8, 8);

/// The input that stands for the data source.
const DATA_SOURCE: &str = "DS_PROMETHEUS";

/// Variables: name, label, and the query of their values.
const VARIABLES: [(&str, &str, &str); 4] = [
    ("job", "Job", "label_values(socklb_build_info, job)"),
    (
        "node",
        "Node",
        "label_values(socklb_build_info{job=~\"$job\"}, instance)",
    ),
    (
        "namespace",
        "Namespace",
        "label_values(socklb_service_backends{job=~\"$job\"}, namespace)",
    ),
    (
        "service",
        "Service",
        "label_values(socklb_service_backends{job=~\"$job\", namespace=~\"$namespace\"}, service)",
    ),
];

pub fn dashboard(rows: &[Row]) -> Value {
    json!({
        "__inputs": [{
            "name": DATA_SOURCE,
            "label": "Prometheus",
            "type": "datasource",
            "pluginId": "prometheus",
            "pluginName": "Prometheus",
        }],
        "__requires": [
            {"type": "grafana", "id": "grafana", "name": "Grafana", "version": "10.0.0"},
            {"type": "datasource", "id": "prometheus", "name": "Prometheus", "version": "1.0.0"},
            {"type": "panel", "id": "stat", "name": "Stat", "version": ""},
            {"type": "panel", "id": "timeseries", "name": "Time series", "version": ""},
        ],
        "uid": "socklb",
        "title": "socklb",
        "description": "Service load balancing at the socket: agents, Services, packets.",
        "tags": ["kubernetes", "socklb"],
        "schemaVersion": 38,
        "editable": true,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": VARIABLES.map(variable)},
        "panels": panels(rows),
    })
}

fn data_source() -> Value {
    json!({"type": "prometheus", "uid": format!("${{{DATA_SOURCE}}}")})
}

fn variable((name, label, query): (&str, &str, &str)) -> Value {
    json!({
        "name": name,
        "label": label,
        "type": "query",
        "datasource": data_source(),
        "definition": query,
        "query": {"query": query, "refId": name},
        // Values change as Services come and go.
        "refresh": 2,
        "sort": 1,
        "multi": true,
        "includeAll": true,
        // A metric without the label matches too.
        "allValue": ".*",
        "current": {"text": ["All"], "value": ["$__all"]},
    })
}

fn panels(rows: &[Row]) -> Vec<Value> {
    let mut panels = Vec::new();
    let mut top = 0;
    for row in rows {
        panels.push(json!({
            "id": panels.len() + 1,
            "type": "row",
            "title": row.title,
            "collapsed": false,
            "panels": [],
            "gridPos": {"x": 0, "y": top, "w": ROW_WIDTH, "h": 1},
        }));
        top += 1;
        let (mut left, mut height) = (0, 0);
        for panel in &row.panels {
            let (usual, tall) = match panel.stat {
                Some(_) => STAT,
                None => GRAPH,
            };
            let width = panel.width.unwrap_or(usual);
            // A line has panels of one height.
            if left + width > ROW_WIDTH || (left > 0 && tall != height) {
                top += height;
                left = 0;
            }
            height = tall;
            let mut json = content(panel);
            json["id"] = json!(panels.len() + 1);
            json["gridPos"] = json!({"x": left, "y": top, "w": width, "h": height});
            panels.push(json);
            left += width;
        }
        top += height;
    }
    panels
}

fn content(panel: &Panel) -> Value {
    let is_stat = panel.stat.is_some();
    let targets = panel
        .queries
        .iter()
        .zip('A'..)
        .map(|((legend, query), id)| {
            json!({
                "refId": id,
                "datasource": data_source(),
                "editorMode": "code",
                "expr": query,
                "legendFormat": legend,
                "instant": is_stat,
                "range": !is_stat,
            })
        });
    let targets: Vec<Value> = targets.collect();
    let mut json = json!({
        "title": panel.title,
        "description": panel.help,
        "datasource": data_source(),
        "targets": targets,
    });
    let (unit, form) = match (&panel.stat, &panel.unit) {
        (Some(unit), _) => (unit, stat(panel)),
        (None, Some(unit)) => (unit, graph()),
        (None, None) => panic!("{} has neither stat nor unit", panel.title),
    };
    for (name, value) in form {
        json[name] = value;
    }
    json["fieldConfig"]["defaults"]["unit"] = json!(unit);
    json
}

fn stat(panel: &Panel) -> [(&'static str, Value); 3] {
    let mut steps = vec![json!({"color": "green", "value": null})];
    steps.extend(panel.bad.map(|bad| json!({"color": "red", "value": bad})));
    [
        ("type", json!("stat")),
        (
            "fieldConfig",
            json!({
                "defaults": {"decimals": 0, "thresholds": {"mode": "absolute", "steps": steps}},
                "overrides": [],
            }),
        ),
        (
            "options",
            json!({
                "colorMode": "value",
                "graphMode": "none",
                "reduceOptions": {"calcs": ["lastNotNull"]},
            }),
        ),
    ]
}

fn graph() -> [(&'static str, Value); 3] {
    [
        ("type", json!("timeseries")),
        (
            "fieldConfig",
            json!({
                "defaults": {"min": 0, "custom": {"fillOpacity": 10, "showPoints": "never"}},
                "overrides": [],
            }),
        ),
        (
            "options",
            json!({
                "legend": {"displayMode": "list", "placement": "bottom"},
                "tooltip": {"mode": "multi", "sort": "desc"},
            }),
        ),
    ]
}
