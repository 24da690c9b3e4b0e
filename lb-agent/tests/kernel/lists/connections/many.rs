//! Very many connections.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;

use anyhow::{Context as _, Result};
use lb_testbed::{KeptSockets, connect, sandboxed};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::command;
use crate::support::{PORT, TARGET, agent, cluster_ip, write_service};

/// Processes, and the connections of each.
const PROCESSES: usize = 4;
const CONNECTIONS: usize = 5_000;

#[test]
fn twenty_thousand_connections_are_listed() {
    sandboxed(|sandbox| {
        let (server, client) = (sandbox.pod("server")?, sandbox.pod("client")?);
        let all = [("net/core/somaxconn", "65535")];
        server.namespace().set_sysctls(&all)?;
        // It never accepts, so that the server's ends need no file descriptors.
        let _listener = server.enter(|| -> Result<Socket> {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
            socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, TARGET)).into())?;
            socket.listen(i32::from(u16::MAX))?;
            Ok(socket)
        })??;
        let manifests = sandbox.manifests()?;
        write_service(&manifests, "web", cluster_ip(10), &[server.ipv4().into()])?;
        let agent = agent(sandbox, &manifests);
        let _running = agent.start()?;

        let mut processes = Vec::new();
        let mut expected = Vec::new();
        for _ in 0..PROCESSES {
            let streams = client.enter(|| {
                let streams = (0..CONNECTIONS).map(|_| connect((cluster_ip(10), PORT)));
                streams.collect::<std::io::Result<Vec<TcpStream>>>()
            })??;
            let cookies = streams.iter().map(|stream| SockRef::from(stream).cookie());
            let cookies = cookies.collect::<std::io::Result<Vec<u64>>>()?;
            let sockets = streams.into_iter().map(OwnedFd::from).collect();
            let process = KeptSockets::in_pod(&client, sockets)?;
            expected.extend(cookies.into_iter().map(|cookie| (cookie, process.id())));
            processes.push(process);
        }
        expected.sort_unstable();

        let (rows, error) = super::of_output(command(&agent, &["-o", "json"]).output()?)?;
        assert_eq!(error, "");
        let mut listed = rows
            .iter()
            .map(|row| {
                let pid = row["processes"][0]["pid"].as_u64().context("a process")?;
                Ok((
                    row["cookie"].as_u64().context("a cookie")?,
                    u32::try_from(pid)?,
                ))
            })
            .collect::<Result<Vec<_>>>()?;
        listed.sort_unstable();
        assert_eq!(listed, expected);
        let table = command(&agent, &["-o", "wide"]).output()?;
        let lines = String::from_utf8(table.stdout)?.lines().count();
        assert_eq!(lines, expected.len() + 1);
        Ok(())
    });
}
