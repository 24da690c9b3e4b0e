//! The process of the self-test.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::process::parent_id;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use netlink_bindings::rt_link::{Ifinfomsg, Request};
use netlink_socket2::NetlinkSocket;
use nix::sched::{CloneFlags, unshare};
use rustix::process::{Signal, set_parent_process_death_signal};

use super::traffic::{self, Servers};
use crate::catalog::{Family, Protocol};
use crate::kernel::probe::OwnDataPath;
use crate::kernel::{Cgroup, network_cookie};
use crate::policy::{
    Algorithm, Backend, FULL_WEIGHT, Frontend, FrontendKind, ServicePort, ServicePortKey, Update,
};
use crate::tables::Tables;

/// IFF_UP, and the index of the loopback device in every network namespace.
const UP: u32 = 1;
const LOOPBACK: i32 = 1;

/// Runs the self-test in this process, which must have no other purpose, and prints its result to stdout, as JSON.
///
/// `cgroup`: an empty one. `parent`: the process that started this one, and without which it ends.
pub fn inside(cgroup: &Path, parent: u32) {
    let result = run(cgroup, parent).map_err(|error| format!("{error:#}"));
    // A result of two texts is always valid JSON. If nobody reads it, nobody needs it.
    let text = serde_json::to_string(&result).unwrap_or_default();
    let _ = writeln!(io::stdout(), "{text}");
}

fn run(cgroup: &Path, parent: u32) -> anyhow::Result<String> {
    set_parent_process_death_signal(Some(Signal::KILL))
        .context("cannot follow the process that started this one")?;
    // It may have ended before the line above.
    ensure!(
        parent_id() == parent,
        "the process that started this one has ended"
    );
    fs::write(cgroup.join("cgroup.procs"), "0")
        .with_context(|| format!("cannot enter the cgroup {}", cgroup.display()))?;
    // No other thread runs yet.
    unshare(CloneFlags::CLONE_NEWNET).context("cannot make a network namespace")?;
    bring_up_loopback().context("cannot bring up the loopback device")?;

    let mut served = Vec::new();
    for family in [Family::Ipv4, Family::Ipv6] {
        match Servers::start(family) {
            Ok(servers) => served.push(servers),
            // A kernel without IPv6.
            Err(_) if family == Family::Ipv6 => {}
            Err(error) => return Err(error).context("cannot listen on the loopback device"),
        }
    }
    let (_data_path, maps) = OwnDataPath::attach(&Cgroup::open(Some(cgroup))?)?;
    let mut tables = Tables::recover(maps).context("cannot read the tables")?;
    tables.set_host_network(network_cookie()?);
    let refused = tables.apply(Update {
        changed: served.iter().flat_map(service_ports).collect(),
        ..Update::default()
    });
    ensure!(refused.is_empty(), "cannot fill the tables");
    for servers in &served {
        traffic::check(servers)?;
    }
    let families: Vec<String> = served
        .iter()
        .map(|servers| servers.family.to_string())
        .collect();
    Ok(format!(
        "a backend answered through a ClusterIP, over TCP and UDP, {}",
        families.join(" and ")
    ))
}

fn bring_up_loopback() -> anyhow::Result<()> {
    let device = Ifinfomsg {
        ifi_index: LOOPBACK,
        ifi_flags: UP,
        ifi_change: UP,
        ..Ifinfomsg::new()
    };
    let mut socket = NetlinkSocket::new();
    socket
        .request(&Request::new().op_setlink_do(&device))?
        .recv_ack()?;
    Ok(())
}

/// The Service of one family, with a port for each protocol.
fn service_ports(servers: &Servers) -> Vec<ServicePort> {
    let backends = [(Protocol::Tcp, servers.tcp), (Protocol::Udp, servers.udp)];
    backends
        .into_iter()
        .map(|(protocol, address)| ServicePort {
            key: ServicePortKey {
                namespace: "socklb".into(),
                name: "self-test".into(),
                port: "".into(),
                protocol,
                family: servers.family,
            },
            created: None,
            algorithm: Algorithm::Random,
            affinity_seconds: None,
            slow_start: None,
            spill_over: None,
            drain: None,
            external_local: false,
            source_ranges: Arc::default(),
            frontends: vec![Frontend {
                kind: FrontendKind::ClusterIp,
                address: Some(servers.cluster_ip.ip()),
                port: servers.cluster_ip.port(),
            }],
            backends: vec![Backend {
                address,
                node: None,
                zone: None,
                weight: 1,
                tenths: FULL_WEIGHT,
                internal: true,
                external: true,
                outside: false,
                serving: true,
                watched: false,
            }],
        })
        .collect()
}
