//! The workspace's folders, from `cargo metadata`, which respects CARGO_TARGET_DIR and config files.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::process;

#[derive(Debug)]
pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    pub(crate) target: PathBuf,
    /// Names of the integration tests of all packages.
    pub(crate) tests: Vec<String>,
}

impl Workspace {
    pub(crate) fn find() -> Result<Self> {
        let mut command = process::cargo();
        command.args(["metadata", "--no-deps", "--format-version=1"]);
        let text = process::output(&mut command)?;
        let metadata: Value = serde_json::from_str(&text).context("cargo metadata")?;
        let path = |key: &str| {
            let value = metadata[key].as_str();
            value
                .map(PathBuf::from)
                .with_context(|| format!("cargo metadata: no {key}"))
        };
        Ok(Self {
            root: path("workspace_root")?,
            target: path("target_directory")?,
            tests: tests(&metadata),
        })
    }

    /// A binary of `cargo build --release`.
    pub(crate) fn release(&self, name: &str) -> PathBuf {
        self.target.join("release").join(name)
    }

    /// A binary of `cargo build`.
    pub(crate) fn debug(&self, name: &str) -> PathBuf {
        self.target.join("debug").join(name)
    }

    /// The object that lb-agent's build script embeds.
    pub(crate) fn bpf_object(&self) -> PathBuf {
        self.target.join("bpf/lb-ebpf.o")
    }

    /// The same without paths of this machine.
    pub(crate) fn release_bpf_object(&self) -> PathBuf {
        self.target.join("bpf/lb-ebpf-release.o")
    }

    /// The same for an lb-agent with the next layouts.
    pub(crate) fn next_bpf_object(&self) -> PathBuf {
        self.target.join("bpf/lb-ebpf-next-layout.o")
    }
}

fn tests(metadata: &Value) -> Vec<String> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    list(&metadata["packages"])
        .iter()
        .flat_map(|package| list(&package["targets"]))
        .filter(|target| target["kind"][0] == "test")
        .filter_map(|target| target["name"].as_str().map(str::to_owned))
        .collect()
}
