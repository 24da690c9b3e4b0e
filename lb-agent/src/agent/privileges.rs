//! Drops the privileges that the agent does not need. A thread drops them for itself and for the threads that it
//! starts.
//!
//! The thread `sockets` starts first and keeps the capabilities for entering other network namespaces. The main thread,
//! which starts all others, keeps those for programs and tables, and those that the command line requires.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::thread::CapabilitySet;

use super::settings::AgentSettings;
use crate::privileges::{self, Calls, OF_SOCKETS, OF_TABLES};
use crate::source::Source;

/// Any process may bind ports from here on (ip_unprivileged_port_start).
const FREE_PORTS: u16 = 1024;

/// Call it on the main thread, before any other thread starts.
pub fn of_all() {
    if let Err(error) = privileges::no_more() {
        tracing::warn!(
            event = "privileges.no_new_privs_failed",
            %error,
            "cannot set no_new_privs",
        );
    }
}

/// Call it on the thread `sockets`.
pub fn of_sockets() {
    keep("sockets", OF_SOCKETS);
    deny(Calls {
        namespaces: true,
        ..Calls::default()
    });
}

/// Applies to the main thread and to all threads that it starts from now on.
pub fn of_tables(settings: &AgentSettings) {
    keep("main", lasting(settings));
    deny(Calls {
        // A kubeconfig may name a program that prints credentials.
        programs: has_kubeconfig(settings),
        ..Calls::default()
    });
}

/// The capabilities that the agent needs for as long as it runs.
fn lasting(settings: &AgentSettings) -> CapabilitySet {
    let mut lasting = OF_TABLES;
    if !held().contains(CapabilitySet::BPF | CapabilitySet::PERFMON) {
        // CAP_SYS_ADMIN stands for both (`bpf_capable` in linux/capability.h). It is needed with a container runtime
        // that cannot grant the two yet.
        lasting |= CapabilitySet::SYS_ADMIN;
    }
    if reads_files(settings) {
        lasting |= CapabilitySet::DAC_READ_SEARCH;
    }
    // The probe socket is bound once. The agent binds the others again after the tenure of another agent.
    let mut sockets = [Some(&settings.socket), settings.probe_socket.as_ref()]
        .into_iter()
        .flatten();
    if sockets.any(|socket| is_in_a_users_folder(socket)) {
        lasting |= CapabilitySet::DAC_OVERRIDE;
    }
    let mut listeners = [settings.http, settings.duties.healthz]
        .into_iter()
        .flatten();
    if listeners.any(|address| address.port() < FREE_PORTS) {
        lasting |= CapabilitySet::NET_BIND_SERVICE;
    }
    lasting
}

/// Whether the agent reads files of any user, and reads them again when they change.
fn reads_files(settings: &AgentSettings) -> bool {
    matches!(settings.source, Source::Manifests(_)) || has_kubeconfig(settings)
}

/// Whether the owner of the folder is not root.
fn is_in_a_users_folder(path: &Path) -> bool {
    let folder = path
        .ancestors()
        .skip(1)
        .find_map(|folder| folder.metadata().ok());
    folder.is_some_and(|folder| folder.uid() != 0)
}

fn has_kubeconfig(settings: &AgentSettings) -> bool {
    match &settings.source {
        Source::Kubernetes(settings) => settings.access.kubeconfig.is_some(),
        Source::Manifests(_) => false,
    }
}

fn held() -> CapabilitySet {
    // If the set is unreadable, assume all capabilities and let the kernel decide.
    privileges::held().unwrap_or(CapabilitySet::all())
}

fn keep(thread: &str, wanted: CapabilitySet) {
    match privileges::keep(wanted) {
        Ok(()) => tracing::debug!(
            event = "privileges.dropped",
            thread,
            capabilities = privileges::names(held()),
            "a thread has dropped the capabilities that it does not need",
        ),
        Err(error) => {
            tracing::warn!(
                event = "privileges.drop_failed",
                thread,
                %error,
                "a thread cannot drop its capabilities",
            );
        }
    }
}

fn deny(calls: Calls) {
    if let Err(error) = calls.allow_only() {
        tracing::warn!(
            event = "privileges.filter_failed",
            %error,
            "cannot deny system calls",
        );
    }
}
