//! An agent in a container: a root file system other than the machine's, and a memory limit.

use std::fs;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use aya::maps::MapInfo;
use lb_testbed::{Agent, Sandbox, sandboxed};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{chdir, chroot};

use crate::support::{Servers, agent, cluster_ip, write_service};

/// Moves the calling thread, and the processes that it starts, into a root of its own that contains the parts of the machine's
/// that an agent needs.
fn enter_container(sandbox: &Sandbox, agent: &Agent) -> Result<()> {
    let root = sandbox.dir().join("root");
    fs::create_dir(&root)?;
    unshare(CloneFlags::CLONE_NEWNS).context("cannot make a mount namespace")?;
    let tmpfs = Some("tmpfs");
    mount(tmpfs, &root, tmpfs, MsFlags::empty(), None::<&str>)?;
    let binary = Path::new(env!("CARGO_BIN_EXE_lb-agent"));
    let binaries = binary.parent().context("a binary is in a folder")?;
    let pins = agent.pin_dir().parent().context("pins are in a folder")?;
    let machines = ["/usr", "/lib", "/lib64", "/proc", "/sys", "/dev"].map(Path::new);
    for folder in machines.into_iter().chain([binaries, sandbox.dir(), pins]) {
        if !folder.exists() {
            continue;
        }
        let place = root.join(folder.strip_prefix("/")?);
        fs::create_dir_all(&place)?;
        let bind = MsFlags::MS_BIND | MsFlags::MS_REC;
        mount(Some(folder), &place, None::<&str>, bind, None::<&str>)
            .with_context(|| format!("cannot show {} in a container", folder.display()))?;
    }
    chroot(&root)?;
    chdir("/")?;
    Ok(())
}

/// The machine's first process does not see the sandbox's BPF file system, so for an agent in a container it looks like one of
/// a container runtime.
#[test]
fn nothing_is_pinned_on_a_bpffs_of_the_container() {
    sandboxed(|sandbox| {
        let servers = Servers::start(sandbox, 1)?;
        let manifests = sandbox.manifests()?;
        write_service(&manifests, "web", cluster_ip(10), &servers.ipv4())?;
        let agent = agent(sandbox, &manifests);
        let (status, log) = std::thread::scope(|scope| {
            let inside = scope.spawn(|| -> Result<_> {
                enter_container(sandbox, &agent)?;
                let mut running = agent.spawn()?;
                Ok((running.wait()?, running.log()))
            });
            inside
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })?;
        ensure!(!status.success(), "{log}");
        let pins = format!("--pin-dir {}", agent.pin_dir().display());
        ensure!(log.failure().contains(&pins), "{log}");
        ensure!(log.failure().contains("a hostPath volume"), "{log}");
        ensure!(!agent.pin_dir().exists(), "something was pinned");
        // The same agent outside of a container.
        agent.start()?.terminate()?;
        Ok(())
    });
}

/// Bytes that the kernel charges for a pinned map (proc_pid_fdinfo(5)).
fn counted(pin: &Path) -> Result<u64> {
    let map = MapInfo::from_pin(pin)?.fd()?;
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", map.as_fd().as_raw_fd()))?;
    let bytes = info.lines().find_map(|line| line.strip_prefix("memlock:"));
    Ok(bytes.context("memlock is not there")?.trim().parse()?)
}

/// `lb-agent/src/kernel/maps/footprint.rs` computes the same for any number of CPUs.
#[test]
fn the_memory_limit_covers_what_the_kernel_charges() {
    sandboxed(|sandbox| {
        let agent = agent(sandbox, &sandbox.manifests()?);
        let _running = agent.start()?;
        let mut sum = 0;
        for room in ["tables-v1", "origins-v1"] {
            for pin in fs::read_dir(agent.pin_dir().join(room))? {
                sum += counted(&pin?.path())?;
            }
        }
        ensure!(sum > 30 << 20, "{sum} bytes cannot be all");
        let daemonset = include_str!("../../../deploy/kustomize/base/daemonset.yaml");
        let mut limits = daemonset
            .lines()
            .filter_map(|line| line.trim().strip_prefix("memory: "));
        let limit = limits
            .next_back()
            .and_then(|limit| limit.strip_suffix("Mi"));
        let limit: u64 = limit.context("a limit in Mi")?.parse()?;
        ensure!(
            sum + (64 << 20) <= limit << 20,
            "{sum} bytes and 64 MiB do not fit"
        );
        Ok(())
    });
}
