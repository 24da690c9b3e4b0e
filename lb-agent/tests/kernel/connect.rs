//! A single connect: its destination, the peer that it reports, and connects that are left alone.

use std::io::BufRead as _;
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};

use anyhow::Result;
use lb_testbed::{
    AgentProcess, ChiSquare, Family, NamedServer, Pod, ServiceManifest, SliceManifest, ask_udp,
    connect, connect_name, sandboxed,
};
use socket2::{Domain, Protocol, Socket, Type};

use crate::support::{
    PORT, Servers, TARGET, Web, agent, answers, backends, cluster_ip, failure, write_service,
};

const CLUSTER_IPV6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x96, 0, 0, 0, 0, 0, 10);

#[test]
fn ten_thousand_connects_are_split_uniformly() {
    sandboxed(|sandbox| {
        let web = Web::start(sandbox, 4, 4)?;

        let answers = answers(&web.client, Web::ADDRESS, 10_000)?;
        let counts: Vec<u64> = answers.values().copied().collect();
        assert_eq!(counts.len(), 4, "{answers:?}");
        let split = ChiSquare::uniform(&counts);
        assert!(split.is_plausible(), "{answers:?}: {split:?}");
        // The kernel's own counters agree.
        let mut counted: Vec<u64> = backends(&web.agent)?
            .iter()
            .map(|b| b.connections)
            .collect();
        let mut counts = counts;
        counted.sort_unstable();
        counts.sort_unstable();
        assert_eq!(counted, counts);
        Ok(())
    });
}

#[test]
fn the_peer_is_the_requested_address() {
    sandboxed(|sandbox| {
        let servers = Servers::start(sandbox, 2)?;
        let client = sandbox.pod("client")?;
        let manifests = sandbox.manifests()?;
        write_service(&manifests, "web", cluster_ip(10), &servers.ipv4())?;
        write_service(
            &manifests,
            "web-ipv6",
            CLUSTER_IPV6,
            &servers.addresses(Family::IPv6),
        )?;
        let _running = agent(sandbox, &manifests).start()?;

        let asked: [SocketAddr; 3] = [
            (cluster_ip(10), PORT).into(),
            (CLUSTER_IPV6, PORT).into(),
            // An IPv6 socket that connects to an IPv4 ClusterIP.
            (cluster_ip(10).to_ipv6_mapped(), PORT).into(),
        ];
        for address in asked {
            let (name, peer) = client.enter(|| -> Result<_> {
                Ok((connect_name(address)?, connect(address)?.peer_addr()?))
            })??;
            assert!(servers.pods.iter().any(|pod| pod.name() == name), "{name}");
            assert_eq!(peer, address);
        }
        Ok(())
    });
}

#[test]
fn connected_udp_is_balanced_and_reports_the_requested_peer() {
    sandboxed(|sandbox| {
        let pods = sandbox.pods(3)?;
        let client = sandbox.pod("client")?;
        let _servers = pods
            .iter()
            .map(|pod| NamedServer::udp(pod, 5353, pod.name()))
            .collect::<Result<Vec<_>>>()?;
        let manifests = sandbox.manifests()?;
        let service = ServiceManifest::new("dns")
            .cluster_ip(cluster_ip(53))
            .udp_port("dns", 53);
        let slice = SliceManifest::new("dns", Family::IPv4)
            .udp_port("dns", 5353)
            .addresses(pods.iter().map(|pod| pod.ipv4()));
        manifests.write("dns.json", [service.to_json(), slice.to_json()])?;
        let _running = agent(sandbox, &manifests).start()?;

        let to = SocketAddr::from((cluster_ip(53), 53));
        client.enter(|| -> Result<()> {
            let mut names = std::collections::BTreeSet::new();
            for _ in 0..100 {
                names.insert(ask_udp(to)?);
            }
            assert_eq!(names.len(), 3, "{names:?}");

            let socket = UdpSocket::bind("0.0.0.0:0")?;
            socket.connect(to)?;
            assert_eq!(socket.peer_addr()?, to);
            // Directly to a pod: nothing of the Service remains.
            let direct = SocketAddr::from((pods[0].ipv4(), 5353));
            socket.connect(direct)?;
            assert_eq!(socket.peer_addr()?, direct);
            Ok(())
        })??;
        Ok(())
    });
}

#[test]
fn a_connection_to_no_frontend_is_unchanged() {
    sandboxed(|sandbox| {
        let servers = Servers::start(sandbox, 2)?;
        let other = sandbox.pod("other")?;
        let client = sandbox.pod("client")?;
        let _server = NamedServer::tcp(&other, PORT, "other")?;
        let manifests = sandbox.manifests()?;
        write_service(&manifests, "web", cluster_ip(10), &servers.ipv4())?;
        let agent = agent(sandbox, &manifests);
        let _running = agent.start()?;

        for family in [Family::IPv4, Family::IPv6] {
            let direct = SocketAddr::from((other.address(family), PORT));
            assert_eq!(answers(&client, direct, 50)?.len(), 1);
            let peer = client.enter(|| connect(direct)?.peer_addr())??;
            assert_eq!(peer, direct);
        }
        // An address beside a frontend.
        let error = failure(&client, (cluster_ip(11), PORT).into())?;
        assert_eq!(error.raw_os_error(), Some(libc::ENETUNREACH), "{error}");
        assert!(backends(&agent)?.iter().all(|b| b.connections == 0));
        Ok(())
    });
}

#[test]
fn a_service_without_a_backend_refuses_at_once() {
    sandboxed(|sandbox| {
        let client = sandbox.pod("client")?;
        let manifests = sandbox.manifests()?;
        write_service(&manifests, "empty", cluster_ip(10), &[])?;
        write_service(&manifests, "empty-ipv6", CLUSTER_IPV6, &[])?;
        let service = ServiceManifest::new("dns")
            .cluster_ip(cluster_ip(53))
            .udp_port("dns", 53);
        manifests.write("dns.json", [service.to_json()])?;
        let _running = agent(sandbox, &manifests).start()?;

        for address in [
            SocketAddr::from((cluster_ip(10), PORT)),
            SocketAddr::from((CLUSTER_IPV6, PORT)),
            SocketAddr::V6(SocketAddrV6::new(
                cluster_ip(10).to_ipv6_mapped(),
                PORT,
                0,
                0,
            )),
        ] {
            let error = failure(&client, address)?;
            assert_eq!(error.raw_os_error(), Some(libc::ECONNREFUSED), "{error}");
        }
        let error = client
            .enter(|| ask_udp((cluster_ip(53), 53)))?
            .expect_err("there is no backend");
        assert_eq!(error.raw_os_error(), Some(libc::ECONNREFUSED), "{error}");
        Ok(())
    });
}

#[test]
fn two_service_ports_can_share_a_backend_address() {
    sandboxed(|sandbox| {
        let servers = Servers::start(sandbox, 1)?;
        let client = sandbox.pod("client")?;
        let manifests = sandbox.manifests()?;
        write_service(&manifests, "one", cluster_ip(1), &servers.ipv4())?;
        write_service(&manifests, "two", cluster_ip(2), &servers.ipv4())?;
        let agent = agent(sandbox, &manifests);
        let _running = agent.start()?;

        for (number, connects) in [(1, 3), (2, 5)] {
            let to = SocketAddr::from((cluster_ip(number), PORT));
            answers(&client, to, connects)?;
            assert_eq!(client.enter(|| connect(to)?.peer_addr())??, to);
        }
        let counts: Vec<(String, u64)> = backends(&agent)?
            .into_iter()
            .map(|backend| (backend.name, backend.connections))
            .collect();
        assert_eq!(counts, [("one".to_owned(), 4), ("two".to_owned(), 6)]);
        Ok(())
    });
}

#[test]
fn the_programs_log_at_the_requested_level() {
    sandboxed(|sandbox| {
        let servers = Servers::start(sandbox, 1)?;
        let client = sandbox.pod("client")?;
        let manifests = sandbox.manifests()?;
        write_service(&manifests, "web", cluster_ip(10), &servers.ipv4())?;
        write_service(&manifests, "empty", cluster_ip(11), &[])?;
        let agent = agent(sandbox, &manifests)
            .arg("--bpf-log=debug")
            .arg("--log=debug");
        let mut running = agent.start()?;
        answers(&client, (cluster_ip(10), PORT).into(), 1)?;
        wait_for_message(&mut running, "to backend")?;
        failure(&client, (cluster_ip(11), PORT).into())?;
        wait_for_message(&mut running, "refused: no backend")
    });
}

/// Waits for log lines of the programs, which are text without an event.
fn wait_for_message(agent: &mut AgentProcess, part: &str) -> Result<()> {
    agent.wait_for_log(part, |log| {
        let mut messages = log.all().map(|event| event.text("message"));
        messages.any(|message| message.contains(part)).then_some(())
    })
}

#[test]
fn an_mptcp_connection_is_balanced_and_reports_the_requested_peer() {
    sandboxed(|sandbox| {
        let servers = Servers::start(sandbox, 2)?;
        let client = sandbox.pod("client")?;
        let manifests = sandbox.manifests()?;
        write_service(&manifests, "web", cluster_ip(10), &servers.ipv4())?;
        let ipv6 = servers.addresses(Family::IPv6);
        write_service(&manifests, "web-ipv6", CLUSTER_IPV6, &ipv6)?;
        let _running = agent(sandbox, &manifests).start()?;
        for asked in [
            SocketAddr::from((cluster_ip(10), PORT)),
            (CLUSTER_IPV6, PORT).into(),
            (cluster_ip(10).to_ipv6_mapped(), PORT).into(),
            // Directly to a pod.
            (servers.pods[0].ipv4(), TARGET).into(),
        ] {
            client.enter(|| -> Result<()> {
                let domain = Domain::for_address(asked);
                let socket = Socket::new(domain, Type::STREAM, Some(Protocol::MPTCP))?;
                socket.connect(&asked.into())?;
                assert_eq!(socket.peer_addr()?.as_socket(), Some(asked));
                let mut name = String::new();
                std::io::BufReader::new(socket).read_line(&mut name)?;
                let is_served = |pod: &Pod| pod.name() == name.trim_end();
                assert!(servers.pods.iter().any(is_served), "{asked}: {name}");
                Ok(())
            })??;
        }
        Ok(())
    });
}
