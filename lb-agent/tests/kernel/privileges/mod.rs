//! The privileges of a running agent, and the least that it needs.

mod mounts;
mod packets;
mod pins;
mod served;

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::{PermissionsExt as _, chown};

use anyhow::{Context as _, Result, ensure};
use aya::sys::{Stats, enable_stats};
use lb_agent::privileges::{OF_SOCKETS, OF_TABLES, names};
use lb_testbed::{connect, sandboxed};
use rustix::thread::CapabilitySet;

use crate::support::{
    Servers, Web, active, agent, answers, cluster_ip, eventually, failure, leave_entry, status,
    wait_for_backends, write_service,
};

/// A user other than root.
const NOBODY: u32 = 65_534;

/// The capabilities of a thread in proc_pid_status(5).
#[derive(Debug)]
struct Thread {
    name: String,
    fields: BTreeMap<String, String>,
}

impl Thread {
    fn all_of(process: u32) -> Result<Vec<Self>> {
        let mut threads = Vec::new();
        for entry in fs::read_dir(format!("/proc/{process}/task"))? {
            // It may have ended.
            let Ok(text) = fs::read_to_string(entry?.path().join("status")) else {
                continue;
            };
            let fields = text.lines().filter_map(|line| line.split_once(":\t"));
            let fields: BTreeMap<_, _> = fields
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect();
            let name = fields.get("Name").context("a name")?.clone();
            threads.push(Self { name, fields });
        }
        Ok(threads)
    }

    fn set(&self, field: &str) -> Result<CapabilitySet> {
        let text = self.fields.get(field).with_context(|| field.to_owned())?;
        Ok(CapabilitySet::from_bits_retain(u64::from_str_radix(
            text, 16,
        )?))
    }

    /// Checks that it has exactly these capabilities, cannot get others, and that some calls are denied.
    fn check(&self, wanted: CapabilitySet, bounding: CapabilitySet) -> Result<()> {
        for (field, wanted) in [
            ("CapEff", wanted),
            ("CapPrm", wanted),
            ("CapBnd", bounding),
            ("CapInh", CapabilitySet::empty()),
            ("CapAmb", CapabilitySet::empty()),
        ] {
            let has = self.set(field)?;
            let name = &self.name;
            ensure!(has == wanted, "{name}: {field} {}", names(has));
        }
        for (field, wanted) in [("NoNewPrivs", "1"), ("Seccomp", "2")] {
            let has = self.fields.get(field).map(String::as_str);
            ensure!(has == Some(wanted), "{}: {field} {has:?}", self.name);
        }
        Ok(())
    }
}

/// Checks the privileges of each thread of an agent that was given all; returns the threads' names.
pub fn check_threads(process: u32, lasting: CapabilitySet) -> Result<Vec<String>> {
    let threads = Thread::all_of(process)?;
    for thread in &threads {
        let wanted = match thread.name.as_str() {
            "sockets" => OF_SOCKETS,
            _ => lasting,
        };
        thread.check(wanted, wanted)?;
    }
    Ok(threads.into_iter().map(|thread| thread.name).collect())
}

#[test]
fn each_thread_has_only_the_privileges_it_needs() {
    sandboxed(|sandbox| {
        let web = Web::start(sandbox, 2, 1)?;
        drop(web.running);
        let agent = web.agent.arg("--sweep-interval").arg("1s");
        let agent = agent.arg("--http").arg("127.0.0.1:81");
        let running = agent.start()?;
        // For manifests of any user, and the low port, which it may have to bind again.
        let lasting = OF_TABLES | CapabilitySet::DAC_READ_SEARCH | CapabilitySet::NET_BIND_SERVICE;
        // Everything that it does at some time, on all of its threads: changes, a grace period, a sweep.
        write_service(
            &web.manifests,
            "web",
            cluster_ip(10),
            &web.servers.ipv4()[1..],
        )?;
        wait_for_backends(&agent, "web", &web.servers.ipv4()[1..])?;
        leave_entry(&agent, &web.client, Web::ADDRESS)?;
        eventually("the entry is swept", || {
            check_threads(running.id(), lasting)?;
            Ok(active(&agent)? == 0)
        })?;
        let names = check_threads(running.id(), lasting)?;
        for name in ["lb-agent", "sockets", "addresses"] {
            ensure!(names.iter().any(|of| of == name), "{name}: {names:?}");
        }
        Ok(())
    });
}

#[test]
fn three_capabilities_suffice_except_for_other_namespaces() {
    sandboxed(|sandbox| {
        let servers = Servers::start(sandbox, 3)?;
        let all = servers.ipv4();
        let client = sandbox.pod("client")?;
        let manifests = sandbox.manifests()?;
        write_service(&manifests, "web", cluster_ip(10), &all[..1])?;
        let agent = agent(sandbox, &manifests).with_only(OF_TABLES);
        let agent = agent.arg("--sweep-interval").arg("1s");
        let mut running = agent.start()?;
        for thread in Thread::all_of(running.id())? {
            let wanted = match thread.name.as_str() {
                "sockets" => CapabilitySet::NET_ADMIN,
                _ => OF_TABLES,
            };
            // Without CAP_SETPCAP the bounding set cannot be shrunk.
            thread.check(wanted, OF_TABLES)?;
        }
        assert_eq!(answers(&client, Web::ADDRESS, 10)?.len(), 1);
        write_service(&manifests, "web", cluster_ip(10), &all[..2])?;
        wait_for_backends(&agent, "web", &all[..2])?;

        let held = client.enter(|| connect(Web::ADDRESS))??;
        running.kill()?;
        write_service(&manifests, "web", cluster_ip(10), &all)?;
        running = agent.start()?;
        ensure!(running.log().has("hooks.replaced"));
        wait_for_backends(&agent, "web", &all)?;
        assert_eq!(active(&agent)?, 1);
        let blind = running.wait_for_event("sweep.not_possible")?;
        let missing = "CAP_SYS_ADMIN, CAP_SYS_PTRACE missing";
        ensure!(blind.text("error").contains(missing), "{blind}");
        drop(held);

        let counting = enable_stats(Stats::RunTime)?;
        answers(&client, Web::ADDRESS, 10)?;
        let status = status(&agent)?;
        let connect4 = status.hooks.iter().find(|hook| hook.hook == "connect4");
        let connect4 = connect4.context("connect4 is there")?;
        ensure!(connect4.run_count >= 10 && connect4.run_time_ns > 0);
        drop(counting);

        running.terminate()?;
        agent.unload()?;
        let error = failure(&client, Web::ADDRESS)?;
        assert_eq!(error.raw_os_error(), Some(libc::ENETUNREACH));
        Ok(())
    });
}

#[test]
fn cap_sys_admin_replaces_cap_bpf_on_old_runtimes() {
    sandboxed(|sandbox| {
        let web = Web::start(sandbox, 1, 1)?;
        drop(web.running);
        let old = CapabilitySet::SYS_ADMIN | CapabilitySet::NET_ADMIN;
        let agent = web.agent.with_only(old);
        let running = agent.start()?;
        for thread in Thread::all_of(running.id())? {
            thread.check(old, old)?;
        }
        assert_eq!(answers(&web.client, Web::ADDRESS, 1)?.len(), 1);
        Ok(())
    });
}

/// As after `sudo lb-agent run --manifests ~/services`.
#[test]
fn files_in_a_users_home_are_read_again_after_changes() {
    sandboxed(|sandbox| {
        let servers = Servers::start(sandbox, 2)?;
        let manifests = sandbox.manifests()?;
        let write = |backends: &[IpAddr]| -> Result<()> {
            write_service(&manifests, "web", cluster_ip(10), backends)?;
            for path in [manifests.folder(), &manifests.folder().join("web.json")] {
                let mode = if path.is_dir() { 0o700 } else { 0o600 };
                fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
                chown(path, Some(NOBODY), Some(NOBODY))?;
            }
            Ok(())
        };
        write(&servers.ipv4()[..1])?;
        // And its socket beside them.
        let socket = manifests.folder().join("agent.sock");
        let agent = agent(sandbox, &manifests).at_socket(&socket);
        let mut running = agent.start()?;
        wait_for_backends(&agent, "web", &servers.ipv4()[..1])?;
        write(&servers.ipv4()[1..])?;
        wait_for_backends(&agent, "web", &servers.ipv4()[1..])?;
        // The leftover socket does not prevent a start.
        running.terminate()?;
        agent.start()?;
        Ok(())
    });
}
