//! Clients that keep one connected socket, as resolvers do.

use std::net::{SocketAddr, UdpSocket};
use std::sync::mpsc::channel;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_testbed::{Deadline, Family, sandboxed};
use socket2::{Domain, Socket, Type};

use super::{
    ask_again, asked, check_error_reported, connected, connected_in, is_ended, kinds,
    wait_for_counts, wait_until_ended,
};
use crate::dns::{Dns, service};
use crate::support::{active, eventually, status};

#[test]
fn a_connected_socket_survives_the_rollout_of_all_its_servers() {
    sandboxed(|sandbox| {
        let dns = Dns::start(sandbox, 6, &[&[0, 1]])?;
        let sockets = connected_in(&dns.client)?;
        for old in [[0, 1], [2, 3]] {
            let new = old.map(|pod| (pod + 2, true, true));
            for socket in &sockets {
                let name = asked(socket)?;
                ensure!(old.iter().any(|&pod| dns.pods[pod].name() == name));
            }
            dns.write(1, new.into_iter())?;
            for (socket, (_, to)) in sockets.iter().zip(kinds()) {
                wait_until_ended(socket)?;
                check_error_reported(socket)?;
                socket.connect(to)?;
                assert_eq!(socket.peer_addr()?, to);
                let name = asked(socket)?;
                ensure!(new.iter().any(|&(pod, ..)| dns.pods[pod].name() == name));
            }
        }
        wait_for_counts(&dns.agent, 6, 0)?;
        drop(sockets);
        eventually("nothing is left", || {
            Ok(active(&dns.agent)? == 0 && status(&dns.agent)?.resting == 0)
        })
    });
}

#[test]
fn a_client_waiting_for_an_answer_wakes_up() {
    sandboxed(|sandbox| {
        let dns = Dns::start(sandbox, 2, &[&[0]])?;
        let (sender, results) = channel();
        for socket in connected_in(&dns.client)? {
            socket.set_read_timeout(None)?;
            let sender = sender.clone();
            std::thread::spawn(move || sender.send(socket.recv(&mut [0; 256])));
        }
        dns.write(1, [(1, true, true)].into_iter())?;
        for _ in kinds() {
            let mut result = None;
            eventually("recv returns", || {
                result = results.try_recv().ok();
                Ok(result.is_some())
            })?;
            let error = result.context("a result")?.err();
            let number = error.and_then(|error| error.raw_os_error());
            assert_eq!(number, Some(libc::ECONNABORTED));
        }
        Ok(())
    });
}

#[test]
fn a_terminating_backend_keeps_its_sockets_while_it_serves() {
    sandboxed(|sandbox| {
        let dns = Dns::start(sandbox, 3, &[&[0], &[1]])?;
        let sockets = connected_in(&dns.client)?;
        let to = service(2);
        let witness = dns.client.enter(|| connected(Domain::IPV4, to))??;
        dns.write(1, [(0, false, true), (2, true, true)].into_iter())?;
        dns.wait_for(1, Family::IPv6, &[(0, false, true), (2, true, true)])?;
        dns.write(2, [(2, true, true)].into_iter())?;
        // The searches that ended this socket would have found the others.
        wait_until_ended(&witness)?;
        for socket in &sockets {
            assert_eq!(asked(socket)?, dns.pods[0].name());
        }
        // Terminating, and no longer serving.
        dns.write(1, [(0, false, false), (2, true, true)].into_iter())?;
        for (socket, (_, to)) in sockets.iter().zip(kinds()) {
            wait_until_ended(socket)?;
            assert_eq!(ask_again(socket, to)?, dns.pods[2].name());
        }
        Ok(())
    });
}

#[test]
fn deleting_a_service_ends_its_sockets() {
    sandboxed(|sandbox| {
        let dns = Dns::start(sandbox, 1, &[&[0], &[0]])?;
        let sockets = connected_in(&dns.client)?;
        let other = dns.client.enter(|| connected(Domain::IPV4, service(2)))??;
        dns.remove(1)?;
        for socket in &sockets {
            wait_until_ended(socket)?;
            check_error_reported(socket)?;
        }
        assert_eq!(asked(&other)?, dns.pods[0].name());
        assert_eq!(other.peer_addr()?, service(2));
        Ok(())
    });
}

#[test]
fn sockets_are_ended_if_their_backend_stopped_while_no_agent_ran() {
    sandboxed(|sandbox| {
        let mut dns = Dns::start(sandbox, 2, &[&[0], &[0]])?;
        let of_first = connected_in(&dns.client)?;
        let of_second = dns.client.enter(|| connected(Domain::IPV4, service(2)))??;
        dns.running.kill()?;
        dns.write(1, [(1, true, true)].into_iter())?;
        dns.remove(2)?;
        for socket in of_first.iter().chain([&of_second]) {
            assert_eq!(asked(socket)?, dns.pods[0].name(), "no agent, no change");
        }
        dns.running = dns.agent.start()?;
        for socket in of_first.iter().chain([&of_second]) {
            wait_until_ended(socket)?;
        }
        for (socket, (_, to)) in of_first.iter().zip(kinds()) {
            assert_eq!(ask_again(socket, to)?, dns.pods[1].name());
        }
        Ok(())
    });
}

/// Several sockets with one address: the kernel finds one of them at a time.
#[test]
fn sockets_that_share_an_address_are_all_ended() {
    sandboxed(|sandbox| {
        let dns = Dns::start(sandbox, 2, &[&[0]])?;
        let sockets: Vec<UdpSocket> = dns.client.enter(|| -> Result<_> {
            let mut sockets: Vec<UdpSocket> = Vec::new();
            for _ in 0..8 {
                let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
                socket.set_reuse_port(true)?;
                let own = SocketAddr::from((dns.client.ipv4(), 5_353));
                socket.bind(&own.into())?;
                socket.connect(&service(1).into())?;
                sockets.push(socket.into());
            }
            Ok(sockets)
        })??;
        dns.write(1, [(1, true, true)].into_iter())?;
        for socket in &sockets {
            wait_until_ended(socket)?;
        }
        Ok(())
    });
}

/// Such a socket receives only from the backend of its `connect`, wherever it sends.
#[test]
fn a_connected_socket_that_names_the_address_each_time_is_ended() {
    sandboxed(|sandbox| {
        let dns = Dns::start(sandbox, 2, &[&[0]])?;
        let sockets = connected_in(&dns.client)?;
        std::thread::scope(|scope| {
            for (socket, (_, to)) in sockets.iter().zip(kinds()) {
                scope.spawn(move || send_until_ended(socket, to));
            }
            dns.write(1, [(1, true, true)].into_iter())?;
            sockets.iter().try_for_each(wait_until_ended)
        })?;
        for (socket, (_, to)) in sockets.iter().zip(kinds()) {
            // The loop may or may not have received the error, and has left answers unread.
            let _ = socket.take_error()?;
            socket.connect(to)?;
            assert_eq!(socket.peer_addr()?, to);
        }
        Ok(())
    });
}

/// Only the sent datagrams matter. Nobody reads the answers.
fn send_until_ended(socket: &UdpSocket, to: SocketAddr) {
    let deadline = Deadline::within(LIMIT);
    while !is_ended(socket) && !deadline.is_over() {
        // An answer may be an error.
        let _ = socket.send_to(b"?", to);
    }
}

/// Longer than it takes.
const LIMIT: Duration = Duration::from_secs(10);
