//! Sockets are found in every network namespace, however it is kept alive.

use std::fs::File;
use std::net::UdpSocket;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::mpsc::{Sender, channel};
use std::thread;

use anyhow::{Context as _, Result, ensure};
use lb_testbed::{NetworkNamespace, die_with_parent, sandboxed};
use nix::mount::{MsFlags, mount, umount};
use nix::sched::{CloneFlags, unshare};
use socket2::Domain;

use super::{ask_again, connected, connected_here, connected_in, kinds, wait_until_ended};
use crate::dns::{Dns, service};

#[test]
fn sockets_of_the_node_and_of_pods_are_ended() {
    sandboxed(|sandbox| {
        let dns = Dns::start(sandbox, 2, &[&[0]])?;
        let mut sockets = sandbox.namespace().enter(connected_here)??;
        for pod in [&dns.client, &dns.pods[0], &dns.pods[1]] {
            sockets.extend(connected_in(pod)?);
        }
        dns.write(1, [(1, true, true)].into_iter())?;
        sockets.iter().try_for_each(wait_until_ended)?;
        for (socket, (_, to)) in sockets.iter().zip(kinds().into_iter().cycle()) {
            assert_eq!(ask_again(socket, to)?, dns.pods[1].name());
        }
        Ok(())
    });
}

/// The object that keeps a network namespace alive.
#[expect(dead_code, reason = "they are held, not read")]
enum Holder {
    Process(Child),
    Thread(Sender<()>),
    Mount(PathBuf),
    File(NetworkNamespace),
}

impl Drop for Holder {
    fn drop(&mut self) {
        let released = match self {
            Self::Process(process) => process.kill().and_then(|()| process.wait()).is_ok(),
            Self::Mount(point) => umount(point.as_path()).is_ok(),
            Self::Thread(_) | Self::File(_) => true,
        };
        assert!(released || thread::panicking());
    }
}

/// A network namespace without a route out, and a socket in it that is connected to Service 1. The thread stays in it until the
/// sender is dropped.
fn namespace() -> Result<(NetworkNamespace, UdpSocket, Sender<()>)> {
    let (sender, made) = channel();
    let (stay, stayed) = channel();
    thread::spawn(move || {
        let _ = sender.send(enter_new());
        let _ = stayed.recv();
    });
    let (namespace, socket) = made.recv().context("the thread has ended")??;
    Ok((namespace, socket, stay))
}

fn enter_new() -> Result<(NetworkNamespace, UdpSocket)> {
    unshare(CloneFlags::CLONE_NEWNET)?;
    for line in ["link set lo up", "address add 10.244.0.254/24 dev lo"] {
        let ip = Command::new("ip").args(line.split(' ')).status()?;
        ensure!(ip.success(), "ip {line}: {ip}");
    }
    let socket = connected(Domain::IPV4, service(1))?;
    Ok((NetworkNamespace::current()?, socket))
}

/// Keeps a namespace alive in one way only.
fn hold(how: &str, namespace: NetworkNamespace, stay: Sender<()>, dir: &Path) -> Result<Holder> {
    Ok(match how {
        "process" => {
            let mut sleep = Command::new("sleep");
            namespace.starts(sleep.arg("600"));
            Holder::Process(die_with_parent(&mut sleep).spawn()?)
        }
        "mount" => {
            let point = dir.join(how);
            File::create(&point)?;
            let own = format!("/proc/self/fd/{}", namespace.as_fd().as_raw_fd());
            let none = None::<&str>;
            mount(Some(own.as_str()), &point, none, MsFlags::MS_BIND, none)?;
            Holder::Mount(point)
        }
        "file" => Holder::File(namespace),
        _ => Holder::Thread(stay),
    })
}

#[test]
fn sockets_are_ended_however_their_namespace_is_held() {
    sandboxed(|sandbox| {
        let dns = Dns::start(sandbox, 2, &[&[0]])?;
        let mut held = Vec::new();
        for how in ["process", "mount", "file", "thread"] {
            let (namespace, socket, stay) = namespace()?;
            held.push((hold(how, namespace, stay, sandbox.dir())?, socket));
        }
        dns.write(1, [(1, true, true)].into_iter())?;
        held.iter()
            .try_for_each(|(_, socket)| wait_until_ended(socket))
    });
}
