//! Unsuitable nodes and arguments: each gets one clear line.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use lb_testbed::{Agent, Sandbox, sandboxed};
use nix::mount::{MsFlags, mount};

use crate::support::{Servers, Web, agent, answers, cluster_ip, status, write_service};

/// Runs `lb-agent run` with these arguments instead of the usual ones, and returns the error output.
fn failure(sandbox: &Sandbox, change: impl FnOnce(&mut Command)) -> Result<String> {
    let manifests = sandbox.manifests()?;
    write_service(&manifests, "web", cluster_ip(10), &[])?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_lb-agent"));
    command
        .arg("run")
        .arg("--manifests")
        .arg(manifests.folder())
        .arg("--socket")
        .arg(sandbox.dir().join("failing.sock"));
    change(&mut command);
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(!output.status.success(), "it did not fail: {said}");
    ensure!(!said.contains("panicked"), "{said}");
    Ok(said)
}

/// The last line names the cause and the remedy.
fn assert_names(said: &str, parts: &[&str]) {
    let line = said.lines().last().unwrap_or_default();
    for part in parts {
        assert!(line.contains(part), "{part:?} is not in {line:?}");
    }
}

fn usual(sandbox: &Sandbox) -> impl FnOnce(&mut Command) {
    let (cgroup, pins) = (sandbox.cgroup().to_owned(), sandbox.bpffs().join("socklb"));
    move |command| {
        command
            .arg("--cgroup")
            .arg(cgroup)
            .arg("--pin-dir")
            .arg(pins);
    }
}

#[test]
fn unload_refuses_while_an_agent_runs() {
    sandboxed(|sandbox| {
        let manifests = sandbox.manifests()?;
        let mut running = agent(sandbox, &manifests).start()?;
        let unload = Command::new(env!("CARGO_BIN_EXE_lb-agent"))
            .arg("unload")
            .arg("--pin-dir")
            .arg(sandbox.bpffs().join("socklb"))
            .output()?;
        ensure!(!unload.status.success());
        let process = format!("(process {})", running.id());
        let pins = sandbox.bpffs().join("socklb");
        assert_names(
            &String::from_utf8_lossy(&unload.stderr),
            &[&pins.to_string_lossy(), &process, "--pin-dir"],
        );
        ensure!(running.ended()?.is_none(), "it ended");
        Ok(())
    });
}

#[test]
fn a_node_without_bpffs_is_reported() {
    sandboxed(|sandbox| {
        let said = failure(sandbox, |command| {
            command.arg("--cgroup").arg(sandbox.cgroup());
            command.arg("--pin-dir").arg(sandbox.dir().join("pins"));
        })?;
        let pins = format!("--pin-dir {}", sandbox.dir().join("pins").display());
        assert_names(&said, &[&pins, "mount -t bpf bpf"]);
        Ok(())
    });
}

#[test]
fn a_path_that_is_not_a_cgroup_is_reported() {
    sandboxed(|sandbox| {
        let folder = sandbox.dir().join("none");
        fs::create_dir(&folder)?;
        let said = failure(sandbox, |command| {
            command.arg("--cgroup").arg(&folder);
            command.arg("--pin-dir").arg(sandbox.bpffs().join("socklb"));
        })?;
        let cgroup = format!("--cgroup {}", folder.display());
        assert_names(&said, &[&cgroup, "findmnt -t cgroup2", "volume"]);
        Ok(())
    });
}

/// Beside cgroup v1 hierarchies, as `/sys/fs/cgroup` of such a node looks in the pod.
#[test]
fn cgroup2_is_found_on_a_hybrid_node() {
    sandboxed(|sandbox| {
        let folder = sandbox.dir().join("host-cgroup");
        fs::create_dir(&folder)?;
        let (nothing, none) = (None::<&str>, MsFlags::empty());
        mount(nothing, &folder, Some("tmpfs"), none, nothing)?;
        for (name, from) in [("memory", sandbox.dir()), ("unified", sandbox.cgroup())] {
            let place = folder.join(name);
            fs::create_dir(&place)?;
            mount(Some(from), &place, nothing, MsFlags::MS_BIND, nothing)?;
        }
        let servers = Servers::start(sandbox, 1)?;
        let client = sandbox.pod("client")?;
        let manifests = sandbox.manifests()?;
        write_service(&manifests, "web", cluster_ip(10), &servers.ipv4())?;
        let binary = env!("CARGO_BIN_EXE_lb-agent");
        let agent = Agent::on_cgroup(binary, sandbox, manifests.folder(), &folder);
        let _running = agent.start()?;
        let unified = folder.join("unified");
        assert_eq!(Path::new(&status(&agent)?.cgroup), unified);
        assert_eq!(answers(&client, Web::ADDRESS, 1)?["pod-0"], 1);
        Ok(())
    });
}

#[test]
fn a_node_without_cgroup2_is_reported() {
    sandboxed(|sandbox| {
        // Only this sandbox's own mounts.
        let mountinfo = fs::read_to_string("/proc/self/mountinfo")?;
        for line in mountinfo
            .lines()
            .filter(|line| line.contains(" - cgroup2 "))
        {
            let place = line.split(' ').nth(4).unwrap_or_default();
            ensure!(
                Command::new("umount")
                    .args(["-l", place])
                    .status()?
                    .success()
            );
        }
        let said = failure(sandbox, |command| {
            command.arg("--pin-dir").arg(sandbox.bpffs().join("socklb"));
        })?;
        assert_names(&said, &["mount -t cgroup2 cgroup2 /sys/fs/cgroup"]);
        Ok(())
    });
}

#[test]
fn missing_capabilities_are_reported() {
    sandboxed(|sandbox| {
        let said = failure(sandbox, |command| {
            usual(sandbox)(command);
            command.uid(65534).gid(65534);
        });
        // Users other than root may not even be able to read this build's binary.
        let said = match said {
            Ok(said) => said,
            Err(error) if is_out_of_reach(&error) => {
                let copy = Path::new("/tmp").join(format!("lb-agent-{}", std::process::id()));
                fs::copy(env!("CARGO_BIN_EXE_lb-agent"), &copy)?;
                let said = failure(sandbox, |command| {
                    *command = Command::new(&copy);
                    command.args(["run", "--manifests", "/dev/null"]);
                    usual(sandbox)(command);
                    command.uid(65534).gid(65534);
                });
                fs::remove_file(&copy)?;
                said?
            }
            Err(error) => return Err(error),
        };
        assert_names(&said, &["BPF programs", "CAP_BPF", "as root"]);
        Ok(())
    });
}

fn is_out_of_reach(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<std::io::Error>();
    error.is_some_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied)
}

#[test]
fn tables_of_another_shape_are_reported() {
    sandboxed(|sandbox| {
        let manifests = sandbox.manifests()?;
        let agent = agent(sandbox, &manifests);
        agent.start()?.terminate()?;
        let room = agent.pin_dir().join("tables-v1");
        fs::remove_file(room.join("VIEWS"))?;
        fs::rename(room.join("SLOTS"), room.join("VIEWS"))?;
        let said = failure(sandbox, usual(sandbox))?;
        assert_names(
            &said,
            &[
                &room.join("VIEWS").to_string_lossy(),
                "values of 8 bytes",
                "values of 64 bytes",
                "lb-agent unload",
            ],
        );
        Ok(())
    });
}
