//! A Service, and pods with cgroups as the kubelet and the runtimes make them.

use std::fs;
use std::path::Path;
use std::process::Child;

use anyhow::{Context as _, Result};
use lb_agent::serve::ClientStatus;
use lb_testbed::{Agent, Cgroup, Manifests, Pod, Sandbox};
use serde_json::{Value, json};

use crate::support::{self, Servers, Web, cluster_ip, eventually, status, write_service};

/// The kubelet's `cgroupDriver`, and a runtime that uses it.
#[derive(Clone, Copy, Debug)]
pub enum Driver {
    /// With containerd.
    Systemd,
    /// With CRI-O.
    Cgroupfs,
}

/// A pod with a process, and its object.
pub struct KubePod {
    pub pod: Pod,
    name: &'static str,
    uid: String,
    process: Process,
}

/// A process, ended on drop.
pub struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl KubePod {
    /// The third folder of a pod's cgroup is that of a container, which has a process.
    pub fn start(
        sandbox: &Sandbox,
        name: &'static str,
        number: u8,
        driver: Driver,
    ) -> Result<Self> {
        let uid = uid(number);
        let container = make_cgroup(sandbox.cgroup(), &uid, driver)?;
        let pod = sandbox.pod(name)?;
        Ok(Self {
            process: Process::start(&pod, &container)?,
            pod,
            name,
            uid,
        })
    }

    /// Its object, with these labels and annotations.
    pub fn object(&self, labels: Value, annotations: Value) -> Value {
        object(self.name, &self.uid, labels, annotations)
    }

    /// The id of its process.
    pub fn process(&self) -> u32 {
        self.process.0.id()
    }
}

/// The UID of the pod of a number.
pub fn uid(number: u8) -> String {
    format!("0a1b2c3d-0000-4000-8000-0000000000{number:02x}")
}

impl Process {
    /// In a pod's network and in a cgroup.
    pub fn start(pod: &Pod, cgroup: &Cgroup) -> Result<Self> {
        let mut sleep = pod.clone().in_cgroup(cgroup.clone()).command("sleep");
        Ok(Self(sleep.arg("infinity").spawn()?))
    }
}

/// The cgroup of a container of the pod with this UID.
pub fn make_cgroup(root: &Path, uid: &str, driver: Driver) -> Result<Cgroup> {
    let underscored = uid.replace('-', "_");
    let id = "0123456789abcdef".repeat(4);
    let path = match driver {
        Driver::Systemd => format!(
            "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{underscored}.slice/cri-containerd-{id}.scope"
        ),
        Driver::Cgroupfs => format!("kubepods/besteffort/pod{uid}/crio-{id}"),
    };
    let path = root.join(path);
    fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
    Ok(Cgroup::at(path))
}

pub fn object(name: &str, uid: &str, labels: Value, annotations: Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "uid": uid, "labels": labels, "annotations": annotations},
        "spec": {"nodeName": "node-a"},
    })
}

/// The Service [`Web::ADDRESS`] with one server, and an agent that is not started.
pub struct Scene {
    pub manifests: Manifests,
    pub agent: Agent,
    pub servers: Servers,
}

impl Scene {
    pub fn new(sandbox: &Sandbox) -> Result<Self> {
        let servers = Servers::start(sandbox, 1)?;
        let manifests = sandbox.manifests()?;
        write_service(&manifests, "web", cluster_ip(10), &servers.ipv4())?;
        Ok(Self {
            agent: support::agent(sandbox, &manifests),
            manifests,
            servers,
        })
    }

    /// Replaces the pods' objects.
    pub fn write_pods(&self, objects: impl IntoIterator<Item = Value>) -> Result<()> {
        self.manifests.write("pods.json", objects)
    }

    /// Waits until so many pods are served, are not, and are not found.
    pub fn wait_for(&self, served: usize, not_served: usize, not_found: usize) -> Result<()> {
        let wanted = (served, not_served, not_found);
        eventually(&format!("pods are {wanted:?}"), || {
            let of = clients(&self.agent)?;
            Ok((of.served, of.not_served, of.not_found) == wanted)
        })
    }
}

/// The agent's selection as its status has it.
pub fn clients(agent: &Agent) -> Result<ClientStatus> {
    status(agent)?.clients.context("the agent selects pods")
}

/// Whether a pod reaches the Service by its hooks: nothing else serves it here, and there is no route to it.
pub fn is_served(pod: &Pod) -> Result<bool> {
    match pod.enter(|| lb_testbed::connect_name(Web::ADDRESS))? {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENETUNREACH) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
