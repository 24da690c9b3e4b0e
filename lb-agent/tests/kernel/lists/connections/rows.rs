//! What a connection is listed with.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{TcpStream, UdpSocket};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use lb_testbed::{NetworkNamespace, connect, sandboxed};
use nix::mount::{MsFlags, mount};
use nix::sys::stat::fstat;
use rustix::thread::{CapabilitySet, remove_capability_from_bounding_set};
use serde_json::{Value, json};

use super::{
    Client, IPV4, NONE, Open, Scene, cookies, cookies_of, of_output, one_of_each, sleep_with,
};
use crate::support::{TARGET, eventually};

fn inode(of: &NetworkNamespace) -> Result<u64> {
    Ok(fstat(of)?.st_ino)
}

/// Checks everything about a row that does not change.
fn check(row: &Value, client: &Client, namespace: u64) -> Result<()> {
    let port = if client.protocol() == "TCP" {
        "http"
    } else {
        "dns"
    };
    let command = std::fs::read_to_string("/proc/self/comm")?;
    let expected = json!({
        "cookie": client.cookie()?,
        "namespace": "shop",
        "name": "web",
        "port": port,
        "protocol": client.protocol(),
        "local": client.local()?,
        "frontend": client.frontend,
        "backend": client.backend,
        "state": client.state,
        "networkNamespace": {"name": null, "inode": namespace},
        "processes": [{"pid": std::process::id(), "command": command.trim_end()}],
    });
    let mut row = row.as_object().context("an object")?.clone();
    let figures: Vec<bool> = ["rttMicros", "idleMillis", "bytesSent", "bytesReceived"]
        .into_iter()
        .map(|key| row.remove(key).is_some_and(|value| value.is_u64()))
        .collect();
    assert_eq!(figures, [client.protocol() == "TCP"; 4], "{row:?}");
    assert_eq!(Value::Object(row), expected);
    Ok(())
}

#[test]
fn sockets_of_pods_and_of_the_node_are_listed_and_no_others() {
    sandboxed(|sandbox| {
        let scene = Scene::start(sandbox, 3)?;
        let of_pod = scene.client.enter(|| one_of_each(&scene))??;
        let of_node = sandbox.namespace().enter(|| one_of_each(&scene))??;
        let direct = (scene.pods[0].ipv4(), TARGET);
        let (_stream, _socket) = scene.client.enter(|| -> Result<_> {
            let socket = UdpSocket::bind("0.0.0.0:0")?;
            socket.connect(direct)?;
            Ok((connect(direct)?, socket))
        })??;

        let (rows, error) = scene.list(&[])?;
        ensure!(error.is_empty(), "{error}");
        let all = of_pod.iter().chain(&of_node);
        assert_eq!(cookies(&rows), cookies_of(all)?);
        for (clients, namespace) in [
            (&of_pod, inode(scene.client.namespace())?),
            (&of_node, inode(sandbox.namespace())?),
        ] {
            for client in clients {
                let cookie = client.cookie()?;
                let row = rows.iter().find(|row| row["cookie"] == cookie);
                check(row.context("it is listed")?, client, namespace)?;
            }
        }

        let table = scene.command(&[]).output()?;
        let wide = scene.command(&["-o", "wide"]).output()?;
        for (output, columns) in [(table, 10), (wide, 15)] {
            let text = String::from_utf8(output.stdout)?;
            let lines = || {
                text.lines()
                    .map(|line| line.split("   ").collect::<Vec<_>>())
            };
            let cells =
                lines().map(|line| line.iter().filter(|cell| !cell.trim().is_empty()).count());
            assert_eq!(
                cells.collect::<Vec<_>>(),
                vec![columns; rows.len() + 1],
                "{text}"
            );
        }
        drop((of_pod, of_node));
        assert_eq!(scene.cookies(&[])?, NONE);
        Ok(())
    });
}

#[test]
fn a_socket_has_all_processes_that_share_it() {
    sandboxed(|sandbox| {
        let scene = Scene::start(sandbox, 1)?;
        let client = scene.client.enter(|| Client::tcp(&scene, IPV4))??;
        let Open::Tcp(stream) = &client.open else {
            unreachable!("it is TCP")
        };
        let mut child = sleep_with(stream.try_clone()?.into(), 0)?;
        let processes = || -> Result<Vec<Value>> {
            let (rows, _) = scene.list(&[])?;
            let processes = rows[0]["processes"].as_array().context("a list")?.clone();
            Ok(processes)
        };
        let mut expected = vec![json!(std::process::id()), json!(child.id())];
        expected.sort_by_key(Value::as_u64);
        let pids: Vec<Value> = processes()?.iter().map(|of| of["pid"].clone()).collect();
        assert_eq!(pids, expected);
        // The command changes with execve.
        eventually("the child is `sleep`", || {
            let all = processes()?;
            Ok(all.contains(&json!({"pid": child.id(), "command": "sleep"})))
        })?;
        drop(client);
        assert_eq!(processes()?.len(), 1);
        child.kill()?;
        child.wait()?;
        assert_eq!(scene.cookies(&[])?, NONE);
        Ok(())
    });
}

/// Without the capabilities that a pod of the agent does not have either.
#[test]
fn processes_of_other_users_are_found_with_cap_sys_ptrace() {
    sandboxed(|sandbox| {
        let scene = Scene::start(sandbox, 1)?;
        let client = scene.client.enter(|| Client::tcp(&scene, IPV4))??;
        let Open::Tcp(stream) = client.open else {
            unreachable!("it is TCP")
        };
        let mut child = sleep_with(stream.into(), 1_000)?;
        let mut command = scene.command(&["-o", "json"]);
        let drop_capabilities = || {
            for capability in [CapabilitySet::DAC_OVERRIDE, CapabilitySet::DAC_READ_SEARCH] {
                remove_capability_from_bounding_set(capability)?;
            }
            Ok(())
        };
        // SAFETY: between fork and exec only prctl is called, which is async-signal-safe and allocates nothing.
        unsafe { command.pre_exec(drop_capabilities) };
        let (rows, error) = of_output(command.output()?)?;
        ensure!(error.is_empty(), "{error}");
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0]["processes"][0]["pid"], json!(child.id()));
        child.kill()?;
        child.wait()?;
        Ok(())
    });
}

#[test]
fn bytes_are_counted_as_the_application_sees_them() {
    sandboxed(|sandbox| {
        let scene = Scene::start(sandbox, 1)?;
        let client = scene.client.enter(|| Client::tcp(&scene, IPV4))??;
        let Open::Tcp(stream) = &client.open else {
            unreachable!("it is TCP")
        };
        let mut stream: &TcpStream = stream;
        let greeting = scene.pods[0].name().len() + 1;
        // The server sends back what it gets.
        let sent = vec![1; 3_000];
        stream.write_all(&sent)?;
        stream.read_exact(&mut vec![0; sent.len()])?;
        eventually("all bytes are acknowledged", || {
            let (rows, _) = scene.list(&[])?;
            let bytes = [&rows[0]["bytesSent"], &rows[0]["bytesReceived"]];
            Ok(bytes == [&json!(sent.len()), &json!(sent.len() + greeting)])
        })
    });
}

#[test]
fn a_namespace_has_the_name_of_its_mount() {
    sandboxed(|sandbox| {
        let scene = Scene::start(sandbox, 1)?;
        let _client = scene.client.enter(|| Client::tcp(&scene, IPV4))??;
        let folder = sandbox.dir().join("netns");
        std::fs::create_dir(&folder)?;
        let point = folder.join("cni-1");
        File::create(&point)?;
        bind(&scene.client, &point)?;
        let (rows, _) = scene.list(&[])?;
        assert_eq!(rows[0]["networkNamespace"]["name"], json!("cni-1"));
        nix::mount::umount(&point)?;
        Ok(())
    });
}

/// Any process may mount something at such a path.
#[test]
fn mount_points_may_have_any_name() {
    sandboxed(|sandbox| {
        let scene = Scene::start(sandbox, 1)?;
        let _client = scene.client.enter(|| Client::tcp(&scene, IPV4))??;
        let folder = sandbox.dir().join("netns");
        std::fs::create_dir(&folder)?;
        let points =
            [OsStr::from_bytes(b"\xff"), OsStr::new("cni 1")].map(|name| folder.join(name));
        for point in &points {
            File::create(point)?;
        }
        bind(&sandbox.pod("other")?, &points[0])?;
        bind(&scene.client, &points[1])?;
        let (rows, error) = scene.list(&[])?;
        ensure!(error.is_empty(), "{error}");
        assert_eq!(rows[0]["networkNamespace"]["name"], json!("cni 1"));
        for point in &points {
            nix::mount::umount(point)?;
        }
        Ok(())
    });
}

fn bind(pod: &lb_testbed::Pod, point: &Path) -> Result<()> {
    let own = format!("/proc/self/fd/{}", pod.namespace().as_fd().as_raw_fd());
    let none = None::<&str>;
    Ok(mount(
        Some(own.as_str()),
        point,
        none,
        MsFlags::MS_BIND,
        none,
    )?)
}
