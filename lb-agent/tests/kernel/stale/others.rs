//! Sockets that are never ended, whatever happens to their backend.

use std::net::{SocketAddr, UdpSocket};

use anyhow::Result;
use lb_testbed::sandboxed;
use socket2::Domain;

use super::{asked, connected, connected_in, kinds, wait_until_ended};
use crate::dns::{Dns, PORT, service, service_ipv6};
use crate::leaks::disconnect;
use crate::udp::{self, ask};

/// The pod itself, for each kind of socket.
fn direct(dns: &Dns) -> [(Domain, SocketAddr); 3] {
    let pod = &dns.pods[0];
    [
        (Domain::IPV4, (pod.ipv4(), PORT).into()),
        (Domain::IPV6, (pod.ipv6(), PORT).into()),
        (Domain::IPV6, (pod.ipv4().to_ipv6_mapped(), PORT).into()),
    ]
}

/// Pod 1 replaces pod 0 in Service 1, and the stale sockets have been ended.
fn move_on(dns: &Dns) -> Result<()> {
    let witnesses = connected_in(&dns.client)?;
    dns.write(1, [(1, true, true)].into_iter())?;
    witnesses.iter().try_for_each(wait_until_ended)
}

#[test]
fn sockets_connected_to_the_pod_itself_are_kept() {
    sandboxed(|sandbox| {
        let dns = Dns::start(sandbox, 2, &[&[0]])?;
        let ways = direct(&dns).into_iter().zip(kinds());
        let sockets: Vec<(UdpSocket, SocketAddr)> = dns.client.enter(|| -> Result<_> {
            let mut sockets = Vec::new();
            for ((domain, pod), (_, service)) in ways {
                sockets.push((connected(domain, pod)?, pod));
                // A socket that was connected through the Service before.
                let before = connected(domain, service)?;
                before.connect(pod)?;
                sockets.push((before, pod));
                // A socket that has sent to the Service while it was connected to the pod.
                let aside = connected(domain, pod)?;
                aside.send_to(b"?", service)?;
                aside.recv(&mut [0; 256])?;
                sockets.push((aside, pod));
                // A socket that has sent to the Service before it was connected.
                let sender = udp::socket(domain)?;
                ask(&sender, service)?;
                sender.connect(pod)?;
                sockets.push((sender, pod));
            }
            Ok(sockets)
        })??;
        move_on(&dns)?;
        for (socket, pod) in &sockets {
            assert_eq!(socket.peer_addr()?, *pod);
            assert_eq!(asked(socket)?, dns.pods[0].name());
        }
        Ok(())
    });
}

#[test]
fn unconnected_sockets_are_kept_and_move_to_the_new_backend() {
    sandboxed(|sandbox| {
        let dns = Dns::start(sandbox, 2, &[&[0]])?;
        let sockets: Vec<(UdpSocket, SocketAddr, bool)> =
            dns.client.enter(|| -> Result<_> {
                let mut sockets = Vec::new();
                for (domain, to) in kinds() {
                    let sender = udp::socket(domain)?;
                    assert_eq!(ask(&sender, to)?, dns.pods[0].name());
                    sockets.push((sender, to, false));
                    let disconnected = connected(domain, to)?;
                    disconnect(&disconnected)?;
                    sockets.push((disconnected, to, true));
                }
                Ok(sockets)
            })??;
        move_on(&dns)?;
        for (socket, to, was_connected) in &sockets {
            assert!(socket.take_error()?.is_none(), "no error waits for them");
            // An IPv6 socket that was connected still receives only from its old peer (`__udp_disconnect`).
            if to.is_ipv4() || !was_connected {
                assert_eq!(ask(socket, *to)?, dns.pods[1].name());
            }
        }
        Ok(())
    });
}

#[test]
fn sockets_of_other_services_with_the_same_pod_are_kept() {
    sandboxed(|sandbox| {
        let dns = Dns::start(sandbox, 2, &[&[0], &[0]])?;
        let others = [(Domain::IPV4, service(2)), (Domain::IPV6, service_ipv6(2))];
        let sockets: Vec<UdpSocket> = dns.client.enter(|| {
            let connect = |(domain, to)| connected(domain, to);
            others.into_iter().map(connect).collect::<Result<_>>()
        })??;
        move_on(&dns)?;
        for (socket, (_, to)) in sockets.iter().zip(others) {
            assert_eq!(socket.peer_addr()?, to);
            assert_eq!(asked(socket)?, dns.pods[0].name());
        }
        Ok(())
    });
}
