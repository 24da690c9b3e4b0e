//! Gives up what the agent may do and does not need, each thread for itself and for those that it starts.
//!
//! First the thread `sockets` is started, which keeps what opens other network namespaces. All other threads come from the main one,
//! which keeps what programs and tables take, and what the command line asks for.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::thread::CapabilitySet;

use super::settings::AgentSettings;
use crate::privileges::{self, Calls, OF_SOCKETS, OF_TABLES};
use crate::source::Source;

/// From here on anybody may bind a port (ip_unprivileged_port_start).
const FREE_PORTS: u16 = 1024;

/// Of the main thread, before any other is started.
pub fn of_all() {
    if let Err(error) = privileges::no_more() {
        tracing::warn!(
            event = "privileges.no_new_privs_failed",
            %error,
            "cannot set no_new_privs",
        );
    }
}

/// Of the thread `sockets`.
pub fn of_sockets() {
    keep("sockets", OF_SOCKETS);
    deny(Calls {
        namespaces: true,
        ..Calls::default()
    });
}

/// Of the main thread, and of all that it starts from now on.
pub fn of_tables(settings: &AgentSettings) {
    keep("main", lasting(settings));
    deny(Calls {
        // A kubeconfig may name a program that gets credentials.
        programs: has_kubeconfig(settings),
        ..Calls::default()
    });
}

/// What the agent needs as long as it runs.
fn lasting(settings: &AgentSettings) -> CapabilitySet {
    let mut lasting = OF_TABLES;
    if !held().contains(CapabilitySet::BPF | CapabilitySet::PERFMON) {
        // It stands for both (`bpf_capable` in linux/capability.h), where a runtime does not know them yet.
        lasting |= CapabilitySet::SYS_ADMIN;
    }
    if reads_files(settings) {
        lasting |= CapabilitySet::DAC_READ_SEARCH;
    }
    // The probe socket is bound once; the others are opened again after another agent has had its turn.
    let mut sockets = [Some(&settings.socket), settings.probe_socket.as_ref()]
        .into_iter()
        .flatten();
    if sockets.any(|socket| is_in_somebodys_folder(socket)) {
        lasting |= CapabilitySet::DAC_OVERRIDE;
    }
    if settings
        .http
        .is_some_and(|address| address.port() < FREE_PORTS)
    {
        lasting |= CapabilitySet::NET_BIND_SERVICE;
    }
    lasting
}

/// Files of any user's, which are read again when they change.
fn reads_files(settings: &AgentSettings) -> bool {
    matches!(settings.source, Source::Manifests(_)) || has_kubeconfig(settings)
}

/// Whether another user than root says who may write there.
fn is_in_somebodys_folder(path: &Path) -> bool {
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
    // Who cannot ask has them for all we know, and the kernel decides.
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
