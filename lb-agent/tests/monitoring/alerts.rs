//! The alert rules: promtool accepts them, each fires when it should, and each has a runbook.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::process::Command;

use serde::Deserialize;

use crate::{file, read};

const RULES: &str = "deploy/monitoring/alerts.yaml";

/// Series and the alerts that they cause, for `promtool test rules`.
const CASES: &str = "lb-agent/tests/monitoring/alerts.test.yaml";

/// Environment variable: the path of promtool.
const PROMTOOL: &str = "SOCKLB_TEST_PROMTOOL";

#[derive(Debug, Deserialize)]
struct RuleFile {
    groups: Vec<Group>,
}

#[derive(Debug, Deserialize)]
struct Group {
    rules: Vec<Alert>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alert {
    #[serde(rename = "alert")]
    pub name: String,
    #[serde(rename = "expr")]
    _query: String,
    #[serde(rename = "for")]
    _lasting: String,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}

pub fn alerts() -> Vec<Alert> {
    let file: RuleFile = serde_saphyr::from_str(&read(RULES)).expect("alerts.yaml has rules");
    let alerts = file.groups.into_iter().flat_map(|group| group.rules);
    alerts.collect()
}

/// Runs `promtool`; its output.
fn promtool(arguments: &[&str]) -> String {
    let path = env::var_os(PROMTOOL).unwrap_or_else(|| OsString::from("promtool"));
    let output = Command::new(&path).args(arguments).output();
    let output = output.unwrap_or_else(|error| {
        panic!(
            "cannot start {}: {error}; run this test by `cargo xtask test unit`, which gets promtool, or set {PROMTOOL} to its path",
            path.display()
        )
    });
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    said.into_owned()
}

#[test]
fn promtool_accepts_the_rules() {
    let rules = file(RULES);
    let said = promtool(&["check", "rules", &rules.display().to_string()]);
    let number = format!("{} rules found", alerts().len());
    assert!(said.contains(&number), "{said}");
}

#[test]
fn every_alert_fires_when_it_should() {
    let cases = file(CASES);
    promtool(&["test", "rules", &cases.display().to_string()]);
    let text = read(CASES);
    for alert in alerts() {
        let name = format!("alertname: {}\n", alert.name);
        assert!(
            text.contains(&name),
            "{CASES} has no case of {}",
            alert.name
        );
    }
}

#[test]
fn every_alert_names_its_severity_and_its_runbook() {
    let url = "https://github.com/socklb/socklb/blob/main/docs/runbooks.md";
    for alert in alerts() {
        let name = &alert.name;
        let severity = alert.labels.get("severity").map(String::as_str);
        let known = [Some("critical"), Some("warning"), Some("info")];
        assert!(known.contains(&severity), "{name}: {severity:?}");
        let runbook = format!("{url}#{}", name.to_lowercase());
        assert_eq!(
            alert.annotations.get("runbook_url"),
            Some(&runbook),
            "{name}"
        );
        assert!(alert.annotations.contains_key("summary"), "{name}");
    }
}
