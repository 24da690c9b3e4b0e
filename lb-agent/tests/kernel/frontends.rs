//! Every kind of frontend: NodePorts on the node's own addresses, external IPs and LoadBalancer IPs.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::process::Command;

use anyhow::{Result, ensure};
use lb_testbed::{Agent, Family, Pod, Sandbox, ServiceManifest, SliceManifest, connect, sandboxed};
use serde_json::json;

use crate::support::{
    PORT, Servers, TARGET, agent, answers, cluster_ip, eventually, failure, status,
};

const NODE_PORT: u16 = 30_080;

/// The node's address in the sandbox.
const NODE: Ipv4Addr = Ipv4Addr::new(10, 244, 0, 1);

const EXTERNAL: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
const BALANCER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 20);
const PROXIED: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 30);

/// A dual-stack Service with a frontend of every kind, and its agent.
fn start(sandbox: &Sandbox) -> Result<(Servers, Pod, Agent)> {
    let servers = Servers::start(sandbox, 2)?;
    let client = sandbox.pod("client")?;
    let manifests = sandbox.manifests()?;
    let cluster_ips = json!([cluster_ip(10), "fd00:96::a"]);
    let port = json!([{"name": "http", "port": PORT, "nodePort": NODE_PORT, "protocol": "TCP"}]);
    let mut service = ServiceManifest::new("web")
        .cluster_ip(cluster_ip(10))
        .spec("clusterIPs", cluster_ips)
        .spec("ipFamilies", json!(["IPv4", "IPv6"]))
        .spec("type", json!("LoadBalancer"))
        .spec("ports", port)
        .spec("externalIPs", json!([EXTERNAL]))
        .to_json();
    service["status"] = json!({"loadBalancer": {"ingress": [
        {"ip": BALANCER, "ipMode": "VIP"},
        {"ip": PROXIED, "ipMode": "Proxy"},
        {"hostname": "balancer.example"},
    ]}});
    let slice = |family| {
        SliceManifest::new("web", family)
            .port("http", TARGET)
            .addresses(servers.addresses(family))
            .to_json()
    };
    let objects = [service, slice(Family::IPv4), slice(Family::IPv6)];
    manifests.write("web.json", objects)?;
    let agent = agent(sandbox, &manifests);
    Ok((servers, client, agent))
}

/// Connects until both backends have answered, and returns the peer.
fn assert_balanced(client: &Pod, to: SocketAddr) -> Result<()> {
    assert_eq!(answers(client, to, 40)?.len(), 2, "{to}");
    assert_eq!(client.enter(|| connect(to)?.peer_addr())??, to);
    Ok(())
}

#[test]
fn external_and_load_balancer_ips_are_balanced() {
    sandboxed(|sandbox| {
        let (_servers, client, agent) = start(sandbox)?;
        let _running = agent.start()?;
        for address in [cluster_ip(10), EXTERNAL, BALANCER] {
            assert_balanced(&client, (address, PORT).into())?;
        }
        // Connections that must pass through the load balancer itself are not translated.
        let error = failure(&client, (PROXIED, PORT).into())?;
        assert_eq!(error.raw_os_error(), Some(libc::ENETUNREACH), "{error}");
        Ok(())
    });
}

#[test]
fn a_port_that_a_cluster_ip_does_not_have_is_refused() {
    sandboxed(|sandbox| {
        let (_servers, client, agent) = start(sandbox)?;
        let _running = agent.start()?;
        let ipv6: IpAddr = "fd00:96::a".parse()?;
        let guarded = [
            SocketAddr::from((cluster_ip(10), PORT + 1)),
            SocketAddr::from((ipv6, PORT + 1)),
            SocketAddr::from((cluster_ip(10).to_ipv6_mapped(), PORT + 1)),
        ];
        for address in guarded {
            let error = failure(&client, address)?;
            assert_eq!(error.raw_os_error(), Some(libc::ECONNREFUSED), "{error}");
        }
        // Another protocol, connected and unconnected.
        let udp = SocketAddr::from((cluster_ip(10), PORT));
        let errors = client.enter(|| -> Result<_> {
            let socket = UdpSocket::bind("0.0.0.0:0")?;
            Ok([socket.connect(udp).err(), socket.send_to(b"?", udp).err()])
        })??;
        for error in errors {
            let error = error.and_then(|error| error.raw_os_error());
            assert_eq!(error, Some(libc::ECONNREFUSED));
        }
        assert_eq!(status(&agent)?.refused_unknown_port, 5);
        // Other addresses, of the same networks and of the other kinds of frontends: not translated.
        let other: IpAddr = "fd00:96::b".parse()?;
        for address in [
            SocketAddr::from((cluster_ip(11), PORT)),
            SocketAddr::from((other, PORT)),
            SocketAddr::from((EXTERNAL, PORT + 1)),
            SocketAddr::from((BALANCER, PORT + 1)),
        ] {
            let error = failure(&client, address)?;
            assert_eq!(error.raw_os_error(), Some(libc::ENETUNREACH), "{error}");
        }
        assert_eq!(status(&agent)?.refused_no_backend, 0);
        Ok(())
    });
}

#[test]
fn a_node_port_answers_on_the_nodes_addresses() {
    sandboxed(|sandbox| {
        let (servers, client, agent) = start(sandbox)?;
        let _running = agent.start()?;
        let ipv6: IpAddr = "fd00:244::1".parse()?;
        assert_balanced(&client, (NODE, NODE_PORT).into())?;
        assert_balanced(&client, (ipv6, NODE_PORT).into())?;
        assert_balanced(&client, (NODE.to_ipv6_mapped(), NODE_PORT).into())?;
        // An address that belongs to no Service, and the node's address with another port: not translated.
        for address in [
            SocketAddr::from((servers.pods[0].ipv4(), NODE_PORT)),
            SocketAddr::from((NODE, PORT)),
        ] {
            let error = failure(&client, address)?;
            assert_eq!(error.raw_os_error(), Some(libc::ECONNREFUSED), "{error}");
        }
        Ok(())
    });
}

#[test]
fn a_node_port_on_loopback_is_for_the_hosts_own_processes() {
    sandboxed(|sandbox| {
        let (_servers, client, agent) = start(sandbox)?;
        let _running = agent.start()?;
        let loopback: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), "::1".parse()?];
        for address in loopback {
            let to = SocketAddr::from((address, NODE_PORT));
            let peer = sandbox.namespace().enter(|| connect(to)?.peer_addr())??;
            assert_eq!(peer, to);
            let error = failure(&client, to)?;
            assert_eq!(error.raw_os_error(), Some(libc::ECONNREFUSED), "{error}");
        }
        Ok(())
    });
}

#[test]
fn a_node_port_follows_the_nodes_addresses() {
    sandboxed(|sandbox| {
        let (_servers, client, agent) = start(sandbox)?;
        let _running = agent.start()?;
        let address = Ipv4Addr::new(10, 244, 0, 200);
        let frontends = status(&agent)?.frontends;
        let change = |verb: &'static str| -> Result<()> {
            let done = sandbox.namespace().enter(move || {
                Command::new("ip")
                    .args(["addr", verb, "10.244.0.200/32", "dev", "lo"])
                    .status()
            })??;
            ensure!(done.success());
            Ok(())
        };
        change("add")?;
        eventually("the new address is a frontend", || {
            Ok(status(&agent)?.frontends == frontends + 1)
        })?;
        assert_balanced(&client, (address, NODE_PORT).into())?;
        change("del")?;
        eventually("the address is no longer a frontend", || {
            Ok(status(&agent)?.frontends == frontends)
        })?;
        Ok(())
    });
}

#[test]
fn node_ports_can_be_limited_to_addresses_and_a_range() {
    sandboxed(|sandbox| {
        let (_servers, client, agent) = start(sandbox)?;
        let mut running = agent.clone().arg("--node-address=10.244.0.250").start()?;
        assert_balanced(&client, (Ipv4Addr::new(10, 244, 0, 250), NODE_PORT).into())?;
        let error = failure(&client, (NODE, NODE_PORT).into())?;
        assert_eq!(error.raw_os_error(), Some(libc::ECONNREFUSED), "{error}");
        running.terminate()?;

        let _running = agent.arg("--nodeport-range=31000-32000").start()?;
        let error = failure(&client, (NODE, NODE_PORT).into())?;
        assert_eq!(error.raw_os_error(), Some(libc::ECONNREFUSED), "{error}");
        assert_balanced(&client, (cluster_ip(10), PORT).into())?;
        Ok(())
    });
}

#[test]
fn an_unknown_service_address_is_refused_with_the_flag() {
    sandboxed(|sandbox| {
        let servers = Servers::start(sandbox, 1)?;
        let client = sandbox.pod("client")?;
        let manifests = sandbox.manifests()?;
        let write = |name: &str, number, is_ours: bool| {
            let service = ServiceManifest::new(name)
                .cluster_ip(cluster_ip(number))
                .port("http", PORT);
            let mut service = service.to_json();
            if !is_ours {
                let labels = json!({"service.kubernetes.io/service-proxy-name": "other"});
                service["metadata"]["labels"] = labels;
            }
            let slice = SliceManifest::new(name, Family::IPv4)
                .port("http", TARGET)
                .addresses(servers.ipv4());
            manifests.write(&format!("{name}.json"), [service, slice.to_json()])
        };
        write("ours", 10, true)?;
        write("theirs", 11, false)?;
        let agent = agent(sandbox, &manifests);
        let cidrs = "10.96.0.0/24,fd00:96::/112";
        let refusing = agent
            .clone()
            .arg("--refuse-unknown")
            .arg("--service-cidr")
            .arg(cidrs);
        let mut running = refusing.start()?;
        let outcome = |address: &str, port: u16| -> Result<Option<i32>> {
            let to = (address.parse::<IpAddr>()?, port);
            let error = client.enter(|| connect(to).err())?;
            Ok(error.and_then(|error| error.raw_os_error()))
        };
        let (refused, untouched) = (Some(libc::ECONNREFUSED), Some(libc::ENETUNREACH));
        for address in [
            "10.96.0.0",
            "10.96.0.12",
            "10.96.0.255",
            "fd00:96::c",
            "fd00:96::ffff",
        ] {
            assert_eq!(outcome(address, PORT)?, refused, "{address}");
        }
        for address in [
            "10.96.0.11",
            "10.96.1.0",
            "10.95.255.255",
            "fd00:96::1:0",
            "fd00:95::c",
        ] {
            assert_eq!(outcome(address, PORT)?, untouched, "{address}");
        }
        assert_eq!(status(&agent)?.refused_unknown_address, 5);
        assert_eq!(answers(&client, (cluster_ip(10), PORT).into(), 1)?.len(), 1);

        // A NodePort moves to another Service; another Service is removed and added again.
        write("ours", 10, false)?;
        eventually("it is skipped", || {
            Ok(outcome("10.96.0.10", PORT)? == untouched)
        })?;
        manifests.remove("theirs.json")?;
        eventually("the address is free", || {
            Ok(outcome("10.96.0.11", PORT)? == refused)
        })?;
        write("theirs", 12, false)?;
        eventually("the address is taken", || {
            Ok(outcome("10.96.0.12", PORT)? == untouched)
        })?;

        // An unreadable Service may have any address.
        manifests.write_text("broken.yaml", "kind: [")?;
        eventually("nothing is refused", || {
            Ok(outcome("10.96.0.13", PORT)? == untouched)
        })?;
        manifests.remove("broken.yaml")?;
        eventually(
            "it is again",
            || Ok(outcome("10.96.0.13", PORT)? == refused),
        )?;

        // A new agent without the flag removes it.
        running.terminate()?;
        assert_eq!(outcome("10.96.0.13", PORT)?, refused, "the data path stays");
        let _running = agent.start()?;
        assert_eq!(outcome("10.96.0.13", PORT)?, untouched);
        Ok(())
    });
}
