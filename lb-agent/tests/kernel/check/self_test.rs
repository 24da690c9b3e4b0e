//! `--self-test`: real hooks, a real connection, and nothing that stays.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Stdio};

use anyhow::{Result, bail, ensure};
use lb_testbed::{Sandbox, die_with_parent, sandboxed, with_only};
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::thread::CapabilitySet;

use super::{Checked, command, without};
use crate::foreign::{self, Verdict};
use crate::support::{Web, active, answers, eventually};

/// The cgroups of self-tests below the sandbox's.
fn cgroups(sandbox: &Sandbox) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(sandbox.cgroup())? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("socklb-") {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// A check that a signal reaches while its self-test has a cgroup.
fn ended_in_the_middle(sandbox: &Sandbox, signal: Signal) -> Result<Child> {
    loop {
        let mut check = command(sandbox);
        check
            .arg("--self-test")
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut child = die_with_parent(&mut check).spawn()?;
        while cgroups(sandbox)?.is_empty() && child.try_wait()?.is_none() {
            std::hint::spin_loop();
        }
        if child.try_wait()?.is_none() {
            kill(Pid::from_raw(i32::try_from(child.id())?), signal)?;
            return Ok(child);
        }
    }
}

#[test]
fn a_backend_answers_and_nothing_stays() {
    sandboxed(|sandbox| {
        let checked = Checked::new(command(sandbox).arg("--self-test"))?;
        checked.assert(
            "self-test",
            "ok",
            &["ClusterIP", "TCP", "UDP", "IPv4", "IPv6"],
        )?;
        assert_eq!(checked.status, Some(0));
        assert_eq!(cgroups(sandbox)?, [""; 0].map(PathBuf::from));
        ensure!(
            !sandbox.bpffs().join("socklb").exists(),
            "it pinned something"
        );
        Checked::new(&mut command(sandbox))?.assert("hooks", "ok", &["no programs"])?;
        Ok(())
    });
}

#[test]
fn it_works_beside_a_running_agent() {
    sandboxed(|sandbox| {
        let web = Web::start(sandbox, 1, 1)?;
        let pins = || -> Result<usize> {
            let mut number = 0;
            for folder in ["links", "tables-v1", "origins-v1"] {
                number += fs::read_dir(web.agent.pin_dir().join(folder))?.count();
            }
            Ok(number)
        };
        let before = pins()?;
        let checked = Checked::new(command(sandbox).arg("--self-test"))?;
        checked.assert("self-test", "ok", &["ClusterIP"])?;
        checked.assert("agent", "ok", &[])?;
        assert_eq!(pins()?, before);
        assert_eq!(cgroups(sandbox)?, [""; 0].map(PathBuf::from));
        assert_eq!(answers(&web.client, Web::ADDRESS, 3)?["pod-0"], 3);
        eventually("nothing is active", || Ok(active(&web.agent)? == 0))
    });
}

#[test]
fn it_fails_if_another_program_refuses_connects() {
    sandboxed(|sandbox| {
        let _refusing = foreign::link(sandbox.cgroup(), &Verdict::Refuse)?;
        let checked = Checked::new(command(sandbox).arg("--self-test"))?;
        assert_eq!(checked.status, Some(1));
        checked.assert("self-test", "failure", &["TCP"])?;
        assert_eq!(cgroups(sandbox)?, [""; 0].map(PathBuf::from));
        Ok(())
    });
}

#[test]
fn without_capabilities_it_names_them() {
    sandboxed(|sandbox| {
        for (missing, name) in [
            (CapabilitySet::NET_ADMIN, "CAP_NET_ADMIN"),
            (CapabilitySet::SYS_ADMIN, "CAP_SYS_ADMIN"),
        ] {
            let mut check = command(sandbox);
            check.arg("--self-test");
            with_only(&mut check, without(missing));
            let checked = Checked::new(&mut check)?;
            assert_eq!(checked.status, Some(1));
            let row = checked.assert("self-test", "failure", &[name])?;
            let remedy = row["remedy"].as_str().unwrap_or_default();
            assert!(remedy.contains("as root"), "{row}");
        }
        Ok(())
    });
}

#[test]
fn a_signal_ends_it_and_leaves_nothing() {
    sandboxed(|sandbox| {
        for signal in [Signal::SIGTERM, Signal::SIGINT] {
            loop {
                let status = ended_in_the_middle(sandbox, signal)?.wait()?;
                assert_eq!(cgroups(sandbox)?, [""; 0].map(PathBuf::from));
                match status.code() {
                    Some(2) => break,
                    // The self-test was done when the signal came.
                    Some(0) => {}
                    _ => bail!("{status}"),
                }
            }
        }
        Ok(())
    });
}

#[test]
fn what_a_killed_one_leaves_is_removed_by_the_next() {
    sandboxed(|sandbox| {
        let mut left = Vec::new();
        while left.is_empty() {
            ended_in_the_middle(sandbox, Signal::SIGKILL)?.wait()?;
            left = cgroups(sandbox)?;
        }
        eventually("its processes have ended", || {
            for cgroup in &left {
                let is_empty = fs::read_to_string(cgroup.join("cgroup.procs"))?.is_empty();
                // A process that it has just started has a copy of the lock.
                let lock = Flock::lock(File::open(cgroup)?, FlockArg::LockExclusiveNonblock);
                if !is_empty || lock.is_err() {
                    return Ok(false);
                }
            }
            Ok(true)
        })?;
        let checked = Checked::new(command(sandbox).arg("--self-test"))?;
        checked.assert("self-test", "ok", &[])?;
        assert_eq!(cgroups(sandbox)?, [""; 0].map(PathBuf::from));
        Ok(())
    });
}
