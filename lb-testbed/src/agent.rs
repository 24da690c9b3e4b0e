//! Starts a real lb-agent, as a process of its own.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, Result, bail};
use rustix::thread::CapabilitySet;

use crate::agent_process::AgentProcess;
use crate::capabilities::with_only;
use crate::missing_netlink::MissingNetlink;
use crate::node::Node;
use crate::pod::Pod;
use crate::sandbox::Sandbox;
use crate::supervisor::die_with_parent;

/// How to start an agent.
#[derive(Clone, Debug)]
pub struct Agent {
    binary: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(String, String)>,
    logs: PathBuf,
    socket: PathBuf,
    pin_dir: PathBuf,
    /// The host that it runs on, if not the sandbox itself.
    host: Option<Pod>,
    capabilities: CapabilitySet,
    /// What the kernel seems not to have.
    missing: Option<MissingNetlink>,
}

impl Agent {
    /// `BINARY run --manifests MANIFESTS --node-name node-a` on the sandbox's cgroup, its bpffs and a socket in its
    /// folder.
    pub fn new(binary: impl Into<PathBuf>, sandbox: &Sandbox, manifests: &Path) -> Self {
        Self::on_cgroup(binary, sandbox, manifests, sandbox.cgroup())
    }

    /// As [`Self::new`], on another cgroup than the sandbox's.
    pub fn on_cgroup(
        binary: impl Into<PathBuf>,
        sandbox: &Sandbox,
        manifests: &Path,
        cgroup: &Path,
    ) -> Self {
        Self::on_default_cgroup(binary, sandbox, manifests)
            .arg("--cgroup")
            .arg(cgroup)
    }

    /// As [`Self::new`], with an API server as the source: `BINARY run --kubeconfig KUBECONFIG --node-name NODE`.
    pub fn of_cluster(
        binary: impl Into<PathBuf>,
        sandbox: &Sandbox,
        kubeconfig: &Path,
        node: &str,
    ) -> Self {
        Self::of_source(binary, sandbox, "--kubeconfig", kubeconfig, node)
            .arg("--cgroup")
            .arg(sandbox.cgroup())
    }

    /// As in a pod: `BINARY run --node-name NODE`, with the API server from the environment, which the caller sets with
    /// [`Self::env`], and with a service account's files.
    pub fn in_cluster(binary: impl Into<PathBuf>, sandbox: &Sandbox, node: &str) -> Self {
        Self::with_arguments(binary, sandbox, ["run", "--node-name", node])
            .arg("--cgroup")
            .arg(sandbox.cgroup())
    }

    /// As [`Self::of_cluster`], on one of several nodes: in its cgroup and network namespace, with a socket and pin folder of its own.
    pub fn of_node(
        binary: impl Into<PathBuf>,
        sandbox: &Sandbox,
        kubeconfig: &Path,
        node: &Node,
    ) -> Self {
        Self::of_source(binary, sandbox, "--kubeconfig", kubeconfig, node.name())
            .on_host(node.host())
            .beside(node.name())
            .arg("--cgroup")
            .arg(node.cgroup())
    }

    /// As [`Self::new`], on the cgroup that the agent finds by itself: the machine's root cgroup, unless the caller hides it.
    pub fn on_default_cgroup(
        binary: impl Into<PathBuf>,
        sandbox: &Sandbox,
        manifests: &Path,
    ) -> Self {
        Self::of_source(binary, sandbox, "--manifests", manifests, "node-a")
    }

    fn of_source(
        binary: impl Into<PathBuf>,
        sandbox: &Sandbox,
        flag: &str,
        source: &Path,
        node: &str,
    ) -> Self {
        Self::with_arguments(binary, sandbox, ["run", "--node-name", node])
            .arg(flag)
            .arg(source)
    }

    fn with_arguments<const N: usize>(
        binary: impl Into<PathBuf>,
        sandbox: &Sandbox,
        arguments: [&str; N],
    ) -> Self {
        Self {
            binary: binary.into(),
            arguments: arguments.map(OsString::from).to_vec(),
            environment: Vec::new(),
            logs: sandbox.dir().to_owned(),
            socket: sandbox.dir().join("agent.sock"),
            pin_dir: sandbox.bpffs().join("socklb"),
            host: None,
            capabilities: CapabilitySet::all(),
            missing: None,
        }
    }

    /// With a socket and a pin folder of its own, so that two can run side by side.
    #[must_use]
    pub fn beside(mut self, name: &str) -> Self {
        self.socket.set_file_name(format!("{name}.sock"));
        self.pin_dir.set_file_name(name);
        self
    }

    /// In another network namespace than the sandbox's, and in its cgroup.
    #[must_use]
    pub fn on_host(mut self, host: &Pod) -> Self {
        self.host = Some(host.clone());
        self
    }

    /// With another socket.
    #[must_use]
    pub fn on_socket(&self, socket: &Path) -> Self {
        Self {
            socket: socket.to_owned(),
            ..self.clone()
        }
    }

    /// With its logs in `folder` instead of the sandbox's folder.
    #[must_use]
    pub fn logging_to(mut self, folder: impl Into<PathBuf>) -> Self {
        self.logs = folder.into();
        self
    }

    /// One more argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// One more variable of its environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// As root with no more than these capabilities.
    #[must_use]
    pub const fn with_only(mut self, capabilities: CapabilitySet) -> Self {
        self.capabilities = capabilities;
        self
    }

    /// As on a kernel without this protocol of netlink.
    pub fn without_netlink(mut self, protocol: i32) -> Result<Self> {
        self.missing = Some(MissingNetlink::new(protocol)?);
        Ok(self)
    }

    /// With its socket at `path` instead of in the sandbox's folder.
    #[must_use]
    pub fn at_socket(mut self, path: impl Into<PathBuf>) -> Self {
        self.socket = path.into();
        self
    }

    /// The unix socket of the agent's API.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    pub fn pin_dir(&self) -> &Path {
        &self.pin_dir
    }

    /// Starts it and does not wait until it is ready. It ends with the calling thread. A terminal's Ctrl-C does not reach it.
    pub fn spawn(&self) -> Result<AgentProcess> {
        static STARTED: AtomicUsize = AtomicUsize::new(0);
        let log_file = self.logs.join(format!(
            "agent-{}.log",
            STARTED.fetch_add(1, Ordering::Relaxed)
        ));
        let log = File::create(&log_file)
            .with_context(|| format!("cannot make {}", log_file.display()))?;
        let same_log = log
            .try_clone()
            .context("cannot share the agent's log file")?;
        let mut command = match &self.host {
            Some(host) => host.command(&self.binary),
            None => Command::new(&self.binary),
        };
        command
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .arg("--pin-dir")
            .arg(&self.pin_dir)
            .arg("--socket")
            .arg(&self.socket)
            .arg("--log-format=json")
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(same_log)
            .process_group(0);
        let command = with_only(die_with_parent(&mut command), self.capabilities);
        if let Some(missing) = self.missing.clone() {
            missing.hide_from(command);
        }
        let child = command
            .spawn()
            .with_context(|| format!("cannot start the agent {}", self.binary.display()))?;
        Ok(AgentProcess::new(child, log_file))
    }

    /// Removes its programs and tables from the kernel.
    pub fn unload(&self) -> Result<()> {
        let mut command = Command::new(&self.binary);
        command.arg("unload").arg("--pin-dir").arg(&self.pin_dir);
        let output = with_only(&mut command, self.capabilities)
            .output()
            .with_context(|| format!("cannot start {}", self.binary.display()))?;
        if !output.status.success() {
            bail!(
                "unload failed: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        Ok(())
    }

    /// Starts it and waits until it is ready.
    pub fn start(&self) -> Result<AgentProcess> {
        let mut agent = self.spawn()?;
        agent.wait_ready()?;
        Ok(agent)
    }
}
