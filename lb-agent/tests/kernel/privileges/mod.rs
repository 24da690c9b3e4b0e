//! What an agent may do once it runs, and what it gets along with.

mod mounts;
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

/// Some user who is not root.
const NOBODY: u32 = 65_534;

/// What proc_pid_status(5) says of a thread.
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

    /// It has just these capabilities, cannot get others, and some calls are denied to it.
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

/// Each thread of an agent that all were given has what it should; returns their names.
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
fn each_thread_has_what_it_needs_and_no_more() {
    sandboxed(|sandbox| {
        let web = Web::start(sandbox, 2, 1)?;
        drop(web.running);
        let agent = web.agent.arg("--sweep-interval").arg("1s");
        let agent = agent.arg("--http").arg("127.0.0.1:81");
        let running = agent.start()?;
        // For the manifests, whosever they are, and the low port, which it may have to bind again.
        let lasting = OF_TABLES | CapabilitySet::DAC_READ_SEARCH | CapabilitySet::NET_BIND_SERVICE;
        // All that it does at some time, with the threads that it takes: changes, a grace period, a sweep.
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
fn three_capabilities_do_for_all_but_other_namespaces() {
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
            // Nobody may shrink the bounding set without CAP_SETPCAP.
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
fn where_a_runtime_knows_no_cap_bpf_cap_sys_admin_stands_for_it() {
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
fn files_in_somebodys_home_are_read_again_when_they_change() {
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
        // What is left of the socket is in nobody's way.
        running.terminate()?;
        agent.start()?;
        Ok(())
    });
}
