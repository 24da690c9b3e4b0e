//! A file with the running playground's processes, so that `exec` needs no arguments.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::{env, fs};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

const FILE: &str = "/run/socklb-playground.json";

/// The variable that names another file, so that two playgrounds can run side by side.
const VARIABLE: &str = "SOCKLB_PLAYGROUND_STATE";

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct State {
    /// The node's process.
    pub(crate) pid: u32,
    pub(crate) cgroup: PathBuf,
    pub(crate) pods: BTreeMap<String, PodState>,
    pub(crate) agent: AgentState,
}

/// Where commands find the agent.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct AgentState {
    pub(crate) program: PathBuf,
    pub(crate) socket: PathBuf,
    pub(crate) pin_dir: PathBuf,
}

/// A pod's process, whose namespaces are the pod's.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PodState {
    pub(crate) pid: u32,
    pub(crate) cgroup: PathBuf,
}

fn file() -> PathBuf {
    env::var_os(VARIABLE).map_or_else(|| FILE.into(), PathBuf::from)
}

impl State {
    /// Fails if the file belongs to another running playground.
    pub(crate) fn write(&self) -> Result<()> {
        if let Some(other) = Self::read() {
            bail!("another playground is running, process {}", other.pid);
        }
        let file = file();
        fs::write(&file, serde_json::to_string(self)?)
            .with_context(|| format!("cannot write {}", file.display()))
    }

    /// The state of the running playground, if there is one.
    pub(crate) fn read() -> Option<Self> {
        let state: Self = serde_json::from_str(&fs::read_to_string(file()).ok()?).ok()?;
        // The process id may belong to another program by now. A zombie has no program. A program that was built again since
        // is called `lb-playground (deleted)`.
        let program = fs::read_link(format!("/proc/{}/exe", state.pid)).ok()?;
        let name = program.file_name()?.to_str()?;
        name.starts_with(env!("CARGO_BIN_NAME")).then_some(state)
    }

    /// Removes the file if it belongs to this node.
    pub(crate) fn remove_of(pid: u32) {
        let state: Option<Self> = fs::read_to_string(file())
            .ok()
            .and_then(|text| serde_json::from_str(&text).ok());
        if state.is_some_and(|state| state.pid == pid) {
            let _ = fs::remove_file(file());
        }
    }
}
