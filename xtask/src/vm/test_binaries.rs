//! Builds the binaries for the guest: the test binary and the agents that it starts, as `cargo test` builds them.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::cross::Compiler;
use crate::test::{KERNEL_TEST, cargo_test};
use crate::workspace::Workspace;
use crate::{build, process};

/// Paths of the binaries. The test binary contains the agent's path.
#[derive(Debug)]
pub(crate) struct TestBinaries {
    pub(crate) test: PathBuf,
    pub(crate) agent: PathBuf,
    /// With the next layouts; the test binary finds it relative to the other.
    pub(crate) next_agent: PathBuf,
}

/// Builds the binaries of `cargo xtask test kernel`, for the compiler's architecture.
pub(crate) fn build(workspace: &Workspace, compiler: &Compiler) -> Result<TestBinaries> {
    let next_agent = build::next_agent(workspace, compiler)?;
    let mut cargo = cargo_test(workspace);
    compiler.configure_tests(&mut cargo);
    cargo.args(["--test", KERNEL_TEST, "--no-run"]);
    cargo.arg("--message-format=json-render-diagnostics");
    let messages = process::output(cargo.stderr(Stdio::inherit()))?;
    let executable = |kind: &str, name: &str| {
        let found = messages
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter(|message| {
                message["target"]["kind"][0] == kind && message["target"]["name"] == name
            })
            .find_map(|message| Some(PathBuf::from(message["executable"].as_str()?)));
        found.with_context(|| format!("cargo has not reported the path of the {kind} {name}"))
    };
    Ok(TestBinaries {
        test: executable("test", KERNEL_TEST)?,
        agent: executable("bin", "lb-agent")?,
        next_agent,
    })
}
