//! The probes of two pods on one node during an update with maxSurge. The DaemonSet's controller ends the old pod once the new
//! one is available, so a probe of the new pod must never be answered by the old one.
//!
//! Pods are processes here. Each has a `--probe-socket` of its own, as each pod has its own emptyDir. A probe is the command
//! that the kubelet runs, `lb-agent probe`, with its exit code.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use lb_testbed::{Agent, AgentProcess, Sandbox, sandboxed};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{HTTP, Web, cluster_ip, eventually, get, wait_for_backends, write_service};

const BINARY: &str = env!("CARGO_BIN_EXE_lb-agent");

/// An agent in a pod of its own.
struct Pod {
    running: AgentProcess,
    probe_socket: PathBuf,
}

impl Pod {
    /// A pod of this name, with the port that all of them use.
    fn start(sandbox: &Sandbox, name: &str, agent: &Agent) -> Result<Self> {
        Self::start_on(sandbox, name, agent, HTTP)
    }

    fn start_on(sandbox: &Sandbox, name: &str, agent: &Agent, http: SocketAddr) -> Result<Self> {
        let probe_socket = sandbox.dir().join(name).join("agent.sock");
        let agent = agent.clone().arg("--http").arg(http.to_string());
        let agent = agent.arg("--probe-socket").arg(&probe_socket);
        Ok(Self {
            running: agent.spawn()?,
            probe_socket,
        })
    }

    /// Whether a probe succeeds.
    fn is(&self, what: &str) -> Result<bool> {
        Ok(self.probe(what)?.0)
    }

    fn probe(&self, what: &str) -> Result<(bool, String)> {
        let output = Command::new(BINARY)
            .args(["probe", what, "--probe-socket"])
            .arg(&self.probe_socket)
            .output()?;
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        ensure!(!said.contains("panicked"), "{said}");
        Ok((output.status.success(), said))
    }

    /// Never before its own process logs that it is ready.
    fn becomes_ready(&self) -> Result<()> {
        eventually("the pod is ready", || {
            let is_ready = self.is("ready")?;
            ensure!(!is_ready || self.running.is_ready(), "who says that?");
            Ok(is_ready)
        })
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        kill(Pid::from_raw(i32::try_from(self.running.id())?), signal)?;
        Ok(())
    }
}

/// The old pod, which is ready, and its Service.
fn old_pod(sandbox: &Sandbox) -> Result<(Web, Pod)> {
    let mut web = Web::start(sandbox, 2, 1)?;
    web.running.terminate()?;
    let old = Pod::start(sandbox, "old", &web.agent)?;
    old.becomes_ready()?;
    Ok((web, old))
}

/// Observes a pod that must not become ready until a condition holds.
fn is_unready_until(new: &Pod, what: &str, is_so: impl Fn(&Pod) -> Result<bool>) -> Result<()> {
    eventually(what, || {
        let (is_ready, said) = new.probe("ready")?;
        ensure!(!is_ready, "a pod that must not be ready says: {said}");
        is_so(new)
    })
    .with_context(|| format!("its log:\n{}", new.running.log()))
}

#[test]
fn a_failing_pod_is_never_ready_beside_a_healthy_one() {
    sandboxed(|sandbox| {
        let (web, mut old) = old_pod(sandbox)?;
        let all = web.servers.ipv4();

        // It does not start, and is restarted repeatedly, as by the kubelet.
        let nowhere = Path::new("/nowhere/admin.conf");
        let broken = Agent::of_cluster(BINARY, sandbox, nowhere, "node-a");
        for name in ["broken-0", "broken-1", "broken-2"] {
            let mut new = Pod::start(sandbox, name, &broken)?;
            is_unready_until(&new, "it has ended", |_| Ok(get("readyz")?.0 == 200))?;
            ensure!(!new.running.wait()?.success());
            ensure!(!new.is("ready")? && !new.is("live")?);
        }

        // The new pod runs, but never gets data from its source. Over TCP, the old pod would answer for it.
        let kubeconfig = sandbox.dir().join("nobody.yaml");
        let nobody = "{apiVersion: v1, kind: Config, current-context: a, contexts: [{name: a, context: {cluster: a, user: a}}], \
                      clusters: [{name: a, cluster: {server: 'http://127.0.0.1:1'}}], users: [{name: a, user: {}}]}";
        fs::write(&kubeconfig, nobody)?;
        let deaf = Agent::of_cluster(BINARY, sandbox, &kubeconfig, "node-a");
        let mut new = Pod::start(sandbox, "deaf", &deaf)?;
        is_unready_until(&new, "it waits, and has asked its source", |new| {
            let log = new.running.log();
            Ok(log.has("hand_over.postponed") && log.has("source.failed"))
        })?;
        assert_eq!(get("readyz")?.0, 200);
        ensure!(new.is("live")?, "it works");
        write_service(&web.manifests, "web", cluster_ip(10), &all[1..])?;
        wait_for_backends(&web.agent, "web", &all[1..])?;
        ensure!(!new.is("ready")? && old.is("ready")?);
        ensure!(new.running.terminate()?.success());

        // The old agent hands over to it, and it ends before anything is in effect.
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let mut new = Pod::start_on(sandbox, "failing", &web.agent, taken.local_addr()?)?;
        is_unready_until(&new, "the old one has handed over", |_| {
            Ok(old.running.log().has("agent.stands_by"))
        })?;
        ensure!(old.is("live")?, "a process in standby is alive");
        ensure!(!new.running.wait()?.success(), "{}", new.running.log());
        ensure!(!new.is("ready")?);
        eventually("the old agent has taken over again", || {
            Ok(old.running.log().times_ready() == 2)
        })?;
        old.becomes_ready()?;
        write_service(&web.manifests, "web", cluster_ip(10), &all[..1])?;
        wait_for_backends(&web.agent, "web", &all[..1])?;
        ensure!(old.running.terminate()?.success());
        ensure!(!old.probe_socket.exists(), "it left its socket");
        Ok(())
    });
}

#[test]
fn a_pod_is_ready_after_the_handover_and_the_old_one_stays_alive() {
    sandboxed(|sandbox| {
        let (web, mut old) = old_pod(sandbox)?;
        let mut new = Pod::start(sandbox, "new", &web.agent)?;
        new.becomes_ready()?;
        old.running.wait_for_event("agent.stands_by")?;
        ensure!(new.is("live")?);
        // Its container must not be restarted before its pod is deleted.
        ensure!(old.is("live")? && old.is("ready")?);
        let (_, said) = old.probe("ready")?;
        ensure!(said.contains("standing by"), "{said}");

        // The old pod's container is restarted for another reason, and takes the node back. The new pod still counts as ready,
        // and the update does not stall.
        old.running.kill()?;
        ensure!(!old.is("live")?);
        let mut restarted = Pod::start(sandbox, "old", &web.agent)?;
        restarted.becomes_ready()?;
        new.running.wait_for_event("agent.stands_by")?;
        ensure!(new.is("live")? && new.is("ready")?);
        ensure!(restarted.running.terminate()?.success());
        eventually("the new agent has taken over again", || {
            Ok(new.running.log().times_ready() == 2)
        })?;
        new.becomes_ready()?;
        let all = web.servers.ipv4();
        write_service(&web.manifests, "web", cluster_ip(10), &all)?;
        wait_for_backends(&web.agent, "web", &all)?;
        ensure!(new.running.terminate()?.success());
        Ok(())
    });
}

#[test]
fn a_stuck_holder_fails_its_liveness_probe_and_a_waiting_agent_does_not() {
    sandboxed(|sandbox| {
        let (web, mut old) = old_pod(sandbox)?;
        old.signal(Signal::SIGSTOP)?;
        let new = Pod::start(sandbox, "new", &web.agent)?;
        is_unready_until(&new, "it has given up asking", |new| {
            Ok(new.running.log().has("hand_over.refused"))
        })?;
        let (is_live, said) = old.probe("live")?;
        ensure!(!is_live && said.contains("no answer"), "{said}");
        ensure!(!old.is("ready")?);
        // Its container is left alone, so it is running when the kubelet has ended the stuck one.
        ensure!(new.is("live")?);
        old.running.kill()?;
        new.becomes_ready()
    });
}

#[test]
fn two_pods_do_not_share_a_probe_socket() {
    sandboxed(|sandbox| {
        let (web, old) = old_pod(sandbox)?;
        let mut second = Pod::start(sandbox, "old", &web.agent)?;
        ensure!(!second.running.wait()?.success());
        let log = second.running.log();
        let socket = format!("--probe-socket {}", second.probe_socket.display());
        ensure!(log.failure().contains(&socket), "{log}");
        old.becomes_ready()
    });
}
