//! `RuntimeDefault`: the seccomp profile of Podman, Buildah and CRI-O, reduced to the rules for these capabilities.

use std::fs;

use anyhow::{Context as _, Result};
use serde_json::{Map, Value};

use crate::archive::architecture;
use crate::daemonset::{list, words};

/// Installed with buildah.
const FILE: &str = "/usr/share/containers/seccomp.json";

/// In the form of config.json (OCI runtime specification).
pub fn runtime_default(capabilities: &[String]) -> Result<Value> {
    let text = fs::read_to_string(FILE).context(FILE)?;
    let profile: Value = serde_json::from_str(&text).context(FILE)?;
    let mut seccomp = Map::new();
    copy(
        &profile,
        &mut seccomp,
        &["defaultAction", "defaultErrnoRet"],
    );
    let rules = list(&profile["syscalls"]).into_iter();
    let rules = rules.filter(|rule| is_for(rule, capabilities)).map(|rule| {
        let mut syscalls = Map::new();
        copy(
            &rule,
            &mut syscalls,
            &["names", "action", "args", "errnoRet"],
        );
        Value::Object(syscalls)
    });
    seccomp.insert("syscalls".to_owned(), rules.collect());
    Ok(Value::Object(seccomp))
}

/// Whether a rule applies with these capabilities on this machine.
fn is_for(rule: &Value, capabilities: &[String]) -> bool {
    let arch = architecture();
    let has = |name: &String| capabilities.contains(name);
    let (with, without) = (&rule["includes"], &rule["excludes"]);
    let arches = words(&with["arches"]);
    words(&with["caps"]).iter().all(has)
        && !words(&without["caps"]).iter().any(has)
        && (arches.is_empty() || arches.iter().any(|name| name == arch))
        && !words(&without["arches"]).iter().any(|name| name == arch)
}

/// Copies the fields that exist.
fn copy(from: &Value, to: &mut Map<String, Value>, fields: &[&str]) {
    for field in fields {
        match &from[field] {
            Value::Null => {}
            value => drop(to.insert((*field).to_owned(), value.clone())),
        }
    }
}
