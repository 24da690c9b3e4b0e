//! Makes a bundle for crun from the image and the DaemonSet: a root file system and a config.json (OCI runtime specification),
//! as containerd would write it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use lb_testbed::Sandbox;
use nix::mount::{MsFlags, mount};
use serde_json::{Value, json};

use crate::archive::unpack;
use crate::container::Container;
use crate::daemonset::{BASE, UNLOAD, args_without_kube_proxy, list, pod_spec, text, words};
use crate::machine::Machine;
use crate::seccomp::runtime_default;

/// The file system at /sys/fs/bpf in the container.
#[derive(Clone, Copy, Debug)]
pub enum Bpffs {
    /// A new, empty one.
    Own,
    None,
}

/// A container that can be started, several times if needed.
#[derive(Debug)]
pub struct Bundle {
    folder: PathBuf,
    image: Value,
    config: Value,
    _machine: Machine,
}

impl Bundle {
    /// The agent's container, as deployed.
    pub fn agent(sandbox: &Sandbox) -> Result<Self> {
        Self::agent_on(sandbox, sandbox.cgroup())
    }

    /// As deployed in place of kube-proxy, on a node whose pods are in this cgroup.
    pub fn without_kube_proxy(sandbox: &Sandbox, cgroup: &Path) -> Result<Self> {
        let mut agent = Self::agent_on(sandbox, cgroup)?;
        for arg in args_without_kube_proxy()? {
            agent.arg(&arg);
        }
        Ok(agent)
    }

    fn agent_on(sandbox: &Sandbox, cgroup: &Path) -> Result<Self> {
        show_cgroups(sandbox, cgroup)?;
        let spec = pod_spec(BASE)?;
        let mut agent = Self::new(sandbox, &spec, &spec["containers"][0])?;
        let manifests = sandbox.manifests()?;
        agent.arg("--manifests=/manifests").arg("--log-format=json");
        agent.mount(bind(manifests.folder(), "/manifests", &["ro"]))?;
        Ok(agent)
    }

    /// The unload container, in the pods with which the overlay replaces the agents.
    pub fn unload(sandbox: &Sandbox) -> Result<Self> {
        let patch = pod_spec(UNLOAD)?;
        Self::new(sandbox, &pod_spec(BASE)?, &patch["initContainers"][0])
    }

    /// The container that these pods run afterwards.
    pub fn waiting(sandbox: &Sandbox) -> Result<Self> {
        let (spec, patch) = (pod_spec(BASE)?, pod_spec(UNLOAD)?);
        let mut container = spec["containers"][0].clone();
        container["args"] = patch["containers"][0]["args"].clone();
        Self::new(sandbox, &spec, &container)
    }

    fn new(sandbox: &Sandbox, spec: &Value, container: &Value) -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("bundle-")
            .tempdir_in(sandbox.dir())?
            .keep();
        let image = unpack(&folder)?;
        show_cgroups(sandbox, sandbox.cgroup())?;
        let machine = Machine::start()?;
        let config = config(sandbox, &folder, spec, container, &image, &machine)?;
        Ok(Self {
            folder,
            image,
            config,
            _machine: machine,
        })
    }

    /// The image's own configuration.
    pub fn image(&self) -> &Value {
        &self.image
    }

    pub fn rootfs(&self) -> PathBuf {
        self.folder.join("rootfs")
    }

    /// Adds an argument for the agent.
    pub fn arg(&mut self, argument: &str) -> &mut Self {
        if let Some(args) = self.config["process"]["args"].as_array_mut() {
            args.push(json!(argument));
        }
        self
    }

    /// Removes capabilities that the DaemonSet has, and the seccomp profile: this profile allows bpf(2) with CAP_SYS_ADMIN only, others
    /// also with CAP_BPF.
    pub fn without(&mut self, taken: &[&str]) -> Result<&mut Self> {
        let of_process = &mut self.config["process"]["capabilities"];
        let all = words(&of_process["bounding"]);
        for capability in taken {
            ensure!(
                all.iter().any(|has| has == capability),
                "the DaemonSet does not have {capability}"
            );
        }
        let left: Vec<String> = all
            .into_iter()
            .filter(|has| !taken.contains(&has.as_str()))
            .collect();
        *of_process = capabilities(&left);
        self.config["linux"]["seccomp"] = Value::Null;
        Ok(self)
    }

    /// Replaces the host's bpffs.
    pub fn bpffs(&mut self, other: Bpffs) -> Result<()> {
        let mounts = self.config["mounts"].as_array_mut();
        let mounts = mounts.context("the mounts are a list")?;
        mounts.retain(|mount| mount["destination"] != "/sys/fs/bpf");
        match other {
            Bpffs::Own => self.mount(json!(
                {"destination": "/sys/fs/bpf", "type": "bpf", "source": "bpf", "options": ["rw"]}
            )),
            Bpffs::None => Ok(()),
        }
    }

    fn mount(&mut self, mount: Value) -> Result<()> {
        let mounts = self.config["mounts"].as_array_mut();
        mounts.context("the mounts are a list")?.push(mount);
        Ok(())
    }

    pub fn start(&self) -> Result<Container> {
        let file = self.folder.join("config.json");
        fs::write(&file, serde_json::to_string_pretty(&self.config)?)?;
        Container::start(&self.folder)
    }
}

/// The sandbox's folder for a folder of the host.
pub fn host_path(sandbox: &Sandbox, path: &str) -> Result<PathBuf> {
    let folder = match path {
        "/sys/fs/bpf" => sandbox.bpffs().to_owned(),
        "/sys/fs/cgroup" => sandbox.dir().join("cgroup"),
        "/run/socklb" => sandbox.dir().join("run-socklb"),
        other => bail!("hostPath {other}: add a folder for it to the sandbox"),
    };
    // Created if missing, as with DirectoryOrCreate.
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// Mounts a cgroup at [`host_path`], as the only one to which an agent may attach, and cgroup2 at /sys/fs/cgroup: crun does not
/// start a container if cgroup v1 hierarchies are mounted too. Only the first call for a sandbox has an effect.
fn show_cgroups(sandbox: &Sandbox, cgroup: &Path) -> Result<()> {
    let place = host_path(sandbox, "/sys/fs/cgroup")?;
    if place.join("cgroup.procs").exists() {
        return Ok(());
    }
    let (no_text, none) = (None::<&str>, MsFlags::empty());
    mount(Some(cgroup), &place, no_text, MsFlags::MS_BIND, no_text)
        .context("cannot bind-mount the cgroup of the node's pods")?;
    if !Path::new("/sys/fs/cgroup/cgroup.procs").exists() {
        let cgroup2 = Some("cgroup2");
        mount(cgroup2, "/sys/fs/cgroup", cgroup2, none, no_text)
            .context("cannot mount cgroup2 at /sys/fs/cgroup")?;
    }
    Ok(())
}

fn config(
    sandbox: &Sandbox,
    folder: &Path,
    spec: &Value,
    container: &Value,
    image: &Value,
    machine: &Machine,
) -> Result<Value> {
    let security = &container["securityContext"];
    assert_eq!(security["privileged"], false);
    assert_eq!(security["capabilities"]["drop"], json!(["ALL"]));
    ensure!(spec["hostPID"] == true && spec["hostNetwork"] == true);
    let mut args = words(&image["config"]["Entrypoint"]);
    args.extend(words(&container["args"]));
    let added: Vec<String> = words(&security["capabilities"]["add"])
        .iter()
        .map(|name| format!("CAP_{name}"))
        .collect();
    assert_eq!(security["seccompProfile"]["type"], "RuntimeDefault");
    let mut mounts = runtimes_mounts();
    mounts.extend(volumes(sandbox, folder, spec, container)?);
    Ok(json!({
        "ociVersion": "1.0.2",
        "root": {"path": "rootfs", "readonly": security["readOnlyRootFilesystem"]},
        "process": {
            "args": args,
            "cwd": "/",
            "env": ["NODE_NAME=node-a"],
            "user": {"uid": security["runAsUser"], "gid": security["runAsGroup"]},
            "capabilities": capabilities(&added),
            "noNewPrivileges": security["allowPrivilegeEscalation"] == false,
        },
        "mounts": mounts,
        "linux": {
            // Without a network namespace of its own: it uses the host's, which is the sandbox's.
            "namespaces": [
                {"type": "pid", "path": machine.processes()},
                {"type": "mount"},
                {"type": "ipc"},
                {"type": "cgroup"},
            ],
            "rootfsPropagation": "rslave",
            "seccomp": runtime_default(&added)?,
            "maskedPaths": ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    }))
}

/// No inheritable or ambient capabilities, as with containerd.
fn capabilities(names: &[String]) -> Value {
    json!({"bounding": names, "effective": names, "permitted": names})
}

/// The mounts that every container has.
fn runtimes_mounts() -> Vec<Value> {
    let mount = |destination: &str, kind: &str, options: &[&str]| json!({"destination": destination, "type": kind, "source": kind, "options": options});
    vec![
        mount("/proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount(
            "/dev",
            "tmpfs",
            &["nosuid", "strictatime", "mode=755", "size=65536k"],
        ),
        mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
        mount(
            "/sys/fs/cgroup",
            "cgroup",
            &["nosuid", "noexec", "nodev", "relatime", "ro"],
        ),
    ]
}

/// The DaemonSet's volumes. Each `emptyDir` is in the bundle's folder.
fn volumes(
    sandbox: &Sandbox,
    folder: &Path,
    spec: &Value,
    container: &Value,
) -> Result<Vec<Value>> {
    let volumes = list(&spec["volumes"]);
    let mut mounts = Vec::new();
    for mount in list(&container["volumeMounts"]) {
        let volume = volumes
            .iter()
            .find(|volume| volume["name"] == mount["name"]);
        let volume = volume.with_context(|| format!("{}: no such volume", mount["name"]))?;
        let source = if volume["emptyDir"].is_object() {
            let own = folder.join(text(&mount, "/name")?);
            fs::create_dir_all(&own)?;
            own
        } else {
            host_path(sandbox, text(volume, "/hostPath/path")?)?
        };
        let propagation = match mount["mountPropagation"].as_str() {
            Some("HostToContainer") => "rslave",
            None => "rprivate",
            Some(other) => bail!("mountPropagation {other} is not supported here"),
        };
        mounts.push(bind(
            &source,
            text(&mount, "/mountPath")?,
            &["rw", propagation],
        ));
    }
    Ok(mounts)
}

fn bind(source: &Path, destination: &str, options: &[&str]) -> Value {
    let options: Vec<&str> = ["rbind"].iter().chain(options).copied().collect();
    json!({"destination": destination, "type": "bind", "source": source, "options": options})
}
