//! The node: a cgroup, a network namespace with a bridge for pods, a mount namespace with a bpffs of its own, and
//! a folder. Everything but the cgroup and the folder ends with the process; [`crate::Supervised`] removes those two.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Context as _, Result, bail};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use crate::cgroup::{self, Cgroup};
use crate::manifest::Manifests;
use crate::namespace::{NetworkNamespace, addresses, ip_batch};
use crate::node::Node;
use crate::pod::{BRIDGE, Pod};
use crate::starvation;
use crate::supervisor::require_root;

/// The number in the node's own addresses, 10.244.0.1 and fd00:244::1; pods have the next ones.
const NODE: u8 = 1;
const LAST_POD: u8 = 254;

/// The names of a sandbox's cgroup and folder, which its supervisor needs to clean up.
#[derive(Clone, Debug)]
pub struct SandboxConfig {
    /// The cgroup is called `PREFIX-PID`.
    pub prefix: String,
    /// An empty folder for the sandbox's files.
    pub dir: PathBuf,
}

impl SandboxConfig {
    pub(crate) fn cgroup_name(&self, pid: u32) -> String {
        format!("{}-{pid}", self.prefix)
    }

    /// The mount point for cgroup2 on a machine that has none.
    pub(crate) fn spare_cgroup2(&self) -> PathBuf {
        self.dir.join("cgroup2")
    }
}

/// The node that the calling process has become.
#[derive(Debug)]
pub struct Sandbox {
    cgroup: Cgroup,
    dir: PathBuf,
    bpffs: PathBuf,
    namespace: NetworkNamespace,
    next_pod: AtomicU16,
}

impl Sandbox {
    /// Moves the calling process into a fresh cgroup, and the calling thread (with all threads that it starts from
    /// now on) into fresh mount and network namespaces. Call it once, in a process that [`crate::Supervised`] started.
    pub fn enter(config: &SandboxConfig) -> Result<Self> {
        require_root()?;
        // Outside, so that its thread holds none of the sandbox's namespaces.
        starvation::record();
        unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET)
            .context("cannot make mount and network namespaces")?;
        cgroup::make_mounts_private()?;
        let root = cgroup::mounted_or_on(&config.spare_cgroup2())?;
        let cgroup = Cgroup::create(&root, &config.cgroup_name(std::process::id()))?;
        cgroup.join()?;
        let bpffs = mount_bpffs(&config.dir)?;
        build_bridge()?;
        let namespace =
            NetworkNamespace::current().context("cannot open the sandbox's network namespace")?;
        Ok(Self {
            cgroup,
            dir: config.dir.clone(),
            bpffs,
            namespace,
            next_pod: AtomicU16::new(u16::from(NODE) + 1),
        })
    }

    /// The cgroup to attach to. It contains this process and all that it starts.
    pub fn cgroup(&self) -> &Path {
        self.cgroup.path()
    }

    /// The mount point of a bpffs that only this sandbox sees.
    pub fn bpffs(&self) -> &Path {
        &self.bpffs
    }

    /// A temporary folder, removed afterwards.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The node's own network namespace.
    pub fn namespace(&self) -> &NetworkNamespace {
        &self.namespace
    }

    /// The folder `manifests` of [`Self::dir`].
    pub fn manifests(&self) -> Result<Manifests> {
        Manifests::in_folder(self.dir.join("manifests"))
    }

    /// A pod with the next free number.
    pub fn pod(&self, name: &str) -> Result<Pod> {
        let pod = Pod::unconnected(name, self.take_number()?)?;
        self.connect(std::slice::from_ref(&pod))?;
        Ok(pod)
    }

    /// Pods named `pod-0`, `pod-1`, …
    pub fn pods(&self, count: usize) -> Result<Vec<Pod>> {
        let pods: Vec<Pod> = (0..count)
            .map(|index| Pod::unconnected(&format!("pod-{index}"), self.take_number()?))
            .collect::<Result<_>>()?;
        self.connect(&pods)?;
        Ok(pods)
    }

    /// A pod that reaches everything, other pods too, through the node.
    pub(crate) fn routed_pod(&self, name: &str, number: u8) -> Result<Pod> {
        let pod = Pod::unconnected(name, number)?;
        self.plug_in(std::slice::from_ref(&pod))?;
        let (ipv4, ipv6) = addresses(NODE);
        pod.bring_up_behind(ipv4, ipv6)?;
        Ok(pod)
    }

    /// The node's own network, as a pod with `hostNetwork` has it.
    pub(crate) fn host(&self) -> Pod {
        let (ipv4, ipv6) = addresses(NODE);
        Pod::with_addresses("node", ipv4, ipv6, self.namespace.clone())
    }

    /// One of several nodes, plugged in like a pod.
    pub fn node(&self, name: &str) -> Result<Node> {
        Node::new(self.pod(name)?, &self.cgroup)
    }

    fn connect(&self, pods: &[Pod]) -> Result<()> {
        self.plug_in(pods)?;
        pods.iter().try_for_each(Pod::bring_up)
    }

    fn plug_in(&self, pods: &[Pod]) -> Result<()> {
        let lines: String = pods.iter().map(Pod::plug_in).collect();
        self.namespace
            .ip(&lines)
            .context("cannot connect pods to the node's bridge")
    }

    /// The next free number of a pod.
    pub(crate) fn take_number(&self) -> Result<u8> {
        match u8::try_from(self.next_pod.fetch_add(1, Ordering::Relaxed)) {
            Ok(number) if number <= LAST_POD => Ok(number),
            _ => bail!("a sandbox has addresses for {} pods only", LAST_POD - NODE),
        }
    }
}

fn mount_bpffs(dir: &Path) -> Result<PathBuf> {
    let point = dir.join("bpf");
    fs::create_dir_all(&point).with_context(|| format!("cannot make {}", point.display()))?;
    mount(
        Some("socklb"),
        &point,
        Some("bpf"),
        MsFlags::empty(),
        None::<&str>,
    )
    .context("cannot mount a bpffs: this needs a kernel with BPF")?;
    Ok(point)
}

fn build_bridge() -> Result<()> {
    let (ipv4, ipv6) = addresses(NODE);
    ip_batch(&format!(
        "link set lo up\n\
         link add {BRIDGE} type bridge mcast_snooping 0\n\
         addr add {ipv4}/24 dev {BRIDGE}\n\
         addr add {ipv6}/64 dev {BRIDGE} nodad\n\
         link set {BRIDGE} up\n"
    ))
    .context("cannot build the node's bridge")
}
