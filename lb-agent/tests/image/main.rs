//! The container image with exactly the permissions of the DaemonSet in deploy/: capabilities, mounts, a read-only root, no new
//! privileges, a runtime's seccomp profile. `cargo xtask test image` makes the image; crun starts it, as a container runtime does.

mod archive;
mod bundle;
mod container;
mod daemonset;
mod machine;
#[path = "../shared/orphan.rs"]
mod orphan;
mod packets;
mod seccomp;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use lb_agent::serve::{self, BackendStatus};
use lb_testbed::{
    Deadline, Family, NamedServer, Pod, Sandbox, ServiceManifest, SliceManifest, connect,
    connect_name, sandboxed,
};
use serde_json::Value;
use socket2::SockRef;

use crate::bundle::{Bpffs, Bundle};
use crate::container::Container;
use crate::daemonset::{BASE, pod_spec, words};
use crate::orphan::orphan_entry;

const TO: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(10, 96, 0, 10)), 80);
const TARGET: u16 = 8080;
const LIMIT: Duration = Duration::from_secs(20);

/// Additional capabilities for closing sockets of removed backends.
const OF_SWEEP: [&str; 2] = ["CAP_SYS_ADMIN", "CAP_SYS_PTRACE"];

/// A Service with one pod behind it.
struct Web {
    client: Pod,
    _server: NamedServer,
}

impl Web {
    fn start(sandbox: &Sandbox) -> Result<Self> {
        let pod = sandbox.pod("server")?;
        let service = ServiceManifest::new("web").cluster_ip(TO.ip());
        let slice = SliceManifest::new("web", Family::IPv4).port("http", TARGET);
        sandbox.manifests()?.write(
            "web.json",
            [
                service.port("http", TO.port()).to_json(),
                slice.address(pod.ipv4()).to_json(),
            ],
        )?;
        Ok(Self {
            client: sandbox.pod("client")?,
            _server: NamedServer::tcp(&pod, TARGET, "server")?,
        })
    }

    fn check(&self) -> Result<()> {
        assert_eq!(self.client.enter(|| connect_name(TO))??, "server");
        let stream = self.client.enter(|| connect(TO))??;
        assert_eq!(stream.peer_addr()?, TO);
        Ok(())
    }
}

#[test]
fn the_agent_balances_and_sweeps_with_the_daemonsets_capabilities() {
    sandboxed(|sandbox| {
        let web = Web::start(sandbox)?;
        let mut bundle = Bundle::agent(sandbox)?;
        bundle.arg("--sweep-interval=1s");
        let mut container = bundle.start()?;
        container.wait_for_event("agent.ready")?;
        web.check()?;
        for probe in ["livenessProbe", "readinessProbe"] {
            let command = words(&pod_spec(BASE)?["containers"][0][probe]["exec"]["command"]);
            let answer = container.exec(&command)?;
            ensure!(answer.status.success(), "{probe}: {answer:?}");
        }
        let status = container.status()?;
        // The first thread's capabilities: CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN. It has a seccomp filter besides the
        // runtime's.
        for line in [
            "Seccomp:\t2",
            "Seccomp_filters:\t2",
            "NoNewPrivs:\t1",
            "CapPrm:\t000000c000001000",
        ] {
            ensure!(status.lines().any(|of| of == line), "{status}");
        }

        // The entry of a socket that closed without running a hook.
        leave_entry(sandbox, &web.client)?;
        let deadline = Deadline::within(LIMIT);
        while active(sandbox)? > 0 {
            ensure!(
                !deadline.is_over(),
                "not swept within {deadline}: {}",
                container.log()
            );
            std::thread::sleep(Duration::from_millis(50));
        }

        container.terminate()?;
        let log = container.log();
        ensure!(log.has("agent.stopped"), "{log}");
        ensure!(log.warnings().is_empty(), "{log}");
        // The next pod takes over.
        web.check()?;
        let mut next = bundle.start()?;
        next.wait_for_event("tables.recovered")?;
        next.wait_for_event("agent.ready")?;
        web.check()
    });
}

#[test]
fn the_agent_balances_without_the_sweeps_two_capabilities() {
    sandboxed(|sandbox| {
        let web = Web::start(sandbox)?;
        let mut bundle = Bundle::agent(sandbox)?;
        bundle.arg("--sweep-interval=1s").without(&OF_SWEEP)?;
        let mut container = bundle.start()?;
        container.wait_for_event("sockets.end_only_own_namespace")?;
        container.wait_for_event("agent.ready")?;
        web.check()?;
        leave_entry(sandbox, &web.client)?;
        let blind = container.wait_for_event("sweep.not_possible")?;
        let missing = "CAP_SYS_ADMIN, CAP_SYS_PTRACE missing";
        ensure!(blind.text("error").contains(missing), "{blind}");
        Ok(())
    });
}

#[test]
fn unload_pods_remove_the_data_path_after_the_agents_are_gone() {
    sandboxed(|sandbox| {
        let web = Web::start(sandbox)?;
        let agent = Bundle::agent(sandbox)?;
        let mut running = agent.start()?;
        running.wait_for_event("agent.ready")?;
        web.check()?;
        let unload = Bundle::unload(sandbox)?;
        let log = refused(unload.start()?)?;
        ensure!(log.contains("another lb-agent"), "{log}");
        running.terminate()?;
        let mut unloading = unload.start()?;
        ensure!(unloading.wait()?.success(), "{}", unloading.log());
        let log = unloading.log().to_string();
        ensure!(log.contains("detached 9 hooks"), "{log}");
        let wait = Bundle::waiting(sandbox)?;
        let mut waiting = wait.start()?;
        waiting.wait_for_output("nothing to remove")?;
        waiting.wait_for_output("waiting for SIGTERM")?;
        waiting.terminate()?;
        let untouched = web.client.enter(|| connect_name(TO))?.err();
        let number = untouched.and_then(|error| error.raw_os_error());
        assert_eq!(number, Some(libc::ENETUNREACH));
        Ok(())
    });
}

#[test]
fn each_other_capability_is_needed_and_named_when_missing() {
    sandboxed(|sandbox| {
        Web::start(sandbox)?;
        for capability in ["CAP_BPF", "CAP_NET_ADMIN", "CAP_PERFMON"] {
            let mut bundle = Bundle::agent(sandbox)?;
            bundle.without(&OF_SWEEP)?.without(&[capability])?;
            let log = refused(bundle.start()?)?;
            ensure!(log.contains(&format!("({capability} missing)")), "{log}");
        }
        Ok(())
    });
}

#[test]
fn the_agent_does_not_pin_on_a_bpffs_of_the_container_runtime() {
    sandboxed(|sandbox| {
        Web::start(sandbox)?;
        for (bpffs, remedy) in [
            (Bpffs::Own, "mountPropagation: HostToContainer"),
            (Bpffs::None, "mount -t bpf bpf"),
        ] {
            let mut bundle = Bundle::agent(sandbox)?;
            bundle.bpffs(bpffs)?;
            let log = refused(bundle.start()?)?;
            ensure!(log.contains(remedy), "{log}");
            ensure!(log.contains("hostPath volume"), "{log}");
        }
        Ok(())
    });
}

/// As `kubectl exec` does it, with the privileges of the agent's container.
#[test]
fn a_check_passes_in_the_agents_container() {
    sandboxed(|sandbox| {
        let web = Web::start(sandbox)?;
        let bundle = Bundle::agent(sandbox)?;
        let mut container = bundle.start()?;
        container.wait_for_event("agent.ready")?;
        let command = "/lb-agent check --self-test --cgroup=/host/cgroup -o json";
        let command: Vec<String> = command.split(' ').map(ToOwned::to_owned).collect();
        let output = container.exec(&command)?;
        ensure!(output.status.success(), "{output:?}");
        let findings: Vec<Value> = serde_json::from_slice(&output.stdout)?;
        for check in ["capabilities", "nftables", "agent", "self-test"] {
            let mut of = findings.iter().filter(|row| row["check"] == check);
            let row = of.next().with_context(|| format!("no row {check}"))?;
            assert_eq!(row["result"], "ok", "{row}");
        }
        web.check()
    });
}

#[test]
fn the_image_has_labels_and_runs_the_agent() {
    sandboxed(|sandbox| {
        let bundle = Bundle::agent(sandbox)?;
        let image = bundle.image();
        assert_eq!(
            image["config"]["Entrypoint"],
            serde_json::json!(["/lb-agent"])
        );
        assert_eq!(image["config"]["Cmd"], serde_json::json!(["run"]));
        let labels = &image["config"]["Labels"];
        let label = |name: &str| labels[format!("org.opencontainers.image.{name}")].clone();
        assert_eq!(label("version"), env!("CARGO_PKG_VERSION"));
        assert_eq!(label("licenses"), env!("CARGO_PKG_LICENSE"));
        let files: Vec<_> = fs::read_dir(bundle.rootfs())?
            .map(|entry| Ok(entry?.file_name()))
            .collect::<Result<_>>()?;
        assert_eq!(files, ["lb-agent"]);
        Ok(())
    });
}

/// The log of an agent that refuses to start.
fn refused(mut container: Container) -> Result<String> {
    if container.wait()?.success() {
        bail!("it did not refuse: {}", container.log());
    }
    Ok(container.log().to_string())
}

/// Connects from a pod, and leaves the entry of that socket behind as if no hook had run when it closed.
fn leave_entry(sandbox: &Sandbox, client: &Pod) -> Result<()> {
    let stream = client.enter(|| connect(TO))??;
    let pins = bundle::host_path(sandbox, "/sys/fs/bpf")?;
    let cookie = SockRef::from(&stream).cookie()?;
    orphan_entry(&pins.join("socklb/origins-v1/ORIGINS"), cookie)
}

/// The sum of all backends' active counts, requested through the socket in the host's /run/socklb.
fn active(sandbox: &Sandbox) -> Result<u64> {
    let socket = bundle::host_path(sandbox, "/run/socklb")?.join("agent.sock");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let backends: Vec<BackendStatus> = runtime.block_on(serve::fetch(&socket, serve::BACKENDS))?;
    Ok(backends.iter().map(|backend| backend.active).sum())
}
