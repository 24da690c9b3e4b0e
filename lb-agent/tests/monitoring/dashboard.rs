//! Grafana's dashboard, from dashboard.yaml.

use std::collections::BTreeMap;
use std::{env, fs};

use serde::Deserialize;
use serde_json::Value;

use crate::grafana::dashboard;
use crate::{file, read};

const SOURCE: &str = "deploy/monitoring/dashboard.yaml";
const WRITTEN: &str = "deploy/monitoring/grafana-dashboard.json";

/// What the placeholders in the source stand for: the variables of the dashboard.
const PLACEHOLDERS: [(&str, &str); 2] = [
    ("<agents>", r#"job=~"$job", instance=~"$node""#),
    (
        "<services>",
        r#"job=~"$job", instance=~"$node", namespace=~"$namespace", service=~"$service""#,
    ),
];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    pub title: String,
    pub panels: Vec<Panel>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Panel {
    pub title: String,
    #[serde(default)]
    pub help: String,
    /// The unit of a graph.
    pub unit: Option<String>,
    /// The unit of a number.
    pub stat: Option<String>,
    /// A number is red from this value on.
    pub bad: Option<u32>,
    /// In columns.
    pub width: Option<u32>,
    /// PromQL by legend.
    pub queries: BTreeMap<String, String>,
}

fn rows() -> Vec<Row> {
    let rows = serde_saphyr::from_str(&read(SOURCE));
    let mut rows: Vec<Row> = rows.expect("dashboard.yaml is a list of rows");
    let panels = rows.iter_mut().flat_map(|row| &mut row.panels);
    for query in panels.flat_map(|panel| panel.queries.values_mut()) {
        for (placeholder, matchers) in PLACEHOLDERS {
            *query = query.replace(placeholder, matchers);
        }
    }
    rows
}

#[test]
fn the_dashboard_is_current() {
    let wanted = dashboard(&rows());
    if env::var_os("UPDATE_GOLDEN").is_some() {
        let text = serde_json::to_string_pretty(&wanted).expect("it is JSON");
        fs::write(file(WRITTEN), text + "\n").expect("deploy/ can be written");
    }
    let found: Value = serde_json::from_str(&read(WRITTEN)).expect("it is JSON");
    assert!(
        found == wanted,
        "{WRITTEN} is out of date: run UPDATE_GOLDEN=1 cargo test -p lb-agent --test monitoring"
    );
}

#[test]
fn every_panel_has_a_unit_and_room() {
    let rows = rows();
    let panels: Vec<&Panel> = rows.iter().flat_map(|row| &row.panels).collect();
    assert!(panels.len() > 20, "{}", panels.len());
    for panel in panels {
        let title = &panel.title;
        assert!(panel.unit.is_some() != panel.stat.is_some(), "{title}");
        assert!(!panel.queries.is_empty(), "{title}");
    }
    let grid = dashboard(&rows);
    let mut taken = BTreeMap::new();
    for panel in grid["panels"].as_array().expect("a list") {
        let at = |name: &str| panel["gridPos"][name].as_u64().expect("a number");
        assert!(at("x") + at("w") <= 24, "{panel}");
        for (x, y) in (at("x")..at("x") + at("w"))
            .flat_map(|x| (at("y")..at("y") + at("h")).map(move |y| (x, y)))
        {
            let other = taken.insert((x, y), panel["title"].clone());
            assert_eq!(other, None, "{} is below it", panel["title"]);
        }
    }
}
