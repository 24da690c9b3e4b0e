//! Reads the DaemonSet in deploy/kustomize.

use std::fs;

use anyhow::{Context as _, Result};
use serde_json::Value;

/// The agents.
pub const BASE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../deploy/kustomize/base/daemonset.yaml"
);

/// The patch for the unload pods.
pub const UNLOAD: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../deploy/kustomize/unload/unload.yaml"
);

/// The overlay's patch: the arguments that the agent gets in place of kube-proxy.
const WITHOUT_KUBE_PROXY: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../deploy/kustomize/without-kube-proxy/args.yaml"
);

/// The pods' spec in a file.
pub fn pod_spec(file: &str) -> Result<Value> {
    let text = fs::read_to_string(file).with_context(|| file.to_owned())?;
    let daemonset: Value = serde_saphyr::from_str(&text).with_context(|| file.to_owned())?;
    Ok(daemonset["spec"]["template"]["spec"].clone())
}

/// The arguments that the overlay adds for a node without kube-proxy, but for the address of the API server.
pub fn args_without_kube_proxy() -> Result<Vec<String>> {
    let file = WITHOUT_KUBE_PROXY;
    let patch = fs::read_to_string(file).with_context(|| file.to_owned())?;
    let patch: Value = serde_saphyr::from_str(&patch).with_context(|| file.to_owned())?;
    let values = list(&patch).into_iter().map(|step| step["value"].clone());
    let mut args = words(&values.collect());
    args.retain(|arg| !arg.starts_with("--api-server="));
    Ok(args)
}

/// The elements of a list.
pub fn list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

/// As [`list`], for strings.
pub fn words(value: &Value) -> Vec<String> {
    let words = list(value);
    words
        .iter()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}

/// The string at a path within a value.
pub fn text<'a>(value: &'a Value, pointer: &str) -> Result<&'a str> {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .with_context(|| format!("{pointer} is not there, or not a text"))
}
