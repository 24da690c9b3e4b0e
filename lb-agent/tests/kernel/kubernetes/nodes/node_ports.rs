//! NodePorts answer on the own node's addresses only. Connections to another node's address are left to that node.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Result;
use lb_testbed::{NamedServer, connect, connect_name, sandboxed};
use serde_json::json;

use super::{Nodes, assert_refused};
use crate::support::{PORT, eventually, status};

const NODE_PORT: u16 = 30_080;

/// A NodePort Service with endpoints on these nodes, in effect on all nodes.
fn start(nodes: &Nodes, external_traffic_policy: &str, on: &[usize]) -> Result<()> {
    let port = json!({"name": "http", "port": PORT, "nodePort": NODE_PORT, "protocol": "TCP"});
    nodes.apply_service(&[
        ("type", json!("NodePort")),
        ("ports", json!([port])),
        ("externalTrafficPolicy", json!(external_traffic_policy)),
    ])?;
    nodes.apply_on(on)?;
    for (number, member) in nodes.members.iter().enumerate() {
        nodes.wait_for(number, on)?;
        eventually("ClusterIP, own address and loopback are frontends", || {
            Ok(status(&member.agent)?.frontends == 3)
        })?;
    }
    Ok(())
}

#[test]
fn node_ports_answer_on_their_own_nodes_addresses() {
    sandboxed(|sandbox| {
        let nodes = Nodes::start(sandbox, 2)?;
        start(&nodes, "Cluster", &[0, 1])?;
        let [a, b] = [0, 1].map(|node| &nodes.members[node]);
        let at = |address: Ipv4Addr| SocketAddr::from((address, NODE_PORT));
        for node in [a, b] {
            let own = at(node.node.ipv4());
            for client in [&node.client, node.node.host()] {
                nodes.assert_answered(client, own, &[0, 1])?;
                assert_eq!(client.enter(|| connect(own)?.peer_addr())??, own);
            }
            // Loopback works for the host's own processes only.
            let loopback = at(Ipv4Addr::LOCALHOST);
            nodes.assert_answered(node.node.host(), loopback, &[0, 1])?;
            assert_refused(&node.client, loopback)?;
        }
        // A connection to another node passes unchanged, and fails unless that node answers.
        for (from, to) in [(a, b), (b, a)] {
            let other = at(to.node.ipv4());
            for client in [&from.client, from.node.host()] {
                assert_refused(client, other)?;
            }
            let _server = NamedServer::tcp(to.node.host(), NODE_PORT, "the host")?;
            for client in [&from.client, from.node.host()] {
                assert_eq!(client.enter(|| connect_name(other))??, "the host");
            }
            nodes.assert_answered(&to.client, other, &[0, 1])?;
        }
        Ok(())
    });
}

/// A node without an endpoint: its own processes still reach the NodePort, and other nodes do not answer for it.
#[test]
fn external_traffic_policy_local_is_cluster_wide_from_the_node_itself() {
    sandboxed(|sandbox| {
        let nodes = Nodes::start(sandbox, 3)?;
        start(&nodes, "Local", &[1, 2])?;
        for from in &nodes.members {
            for to in &nodes.members {
                let is_own = from.node.name() == to.node.name();
                let to = SocketAddr::from((to.node.ipv4(), NODE_PORT));
                for client in [&from.client, from.node.host()] {
                    if is_own {
                        nodes.assert_answered(client, to, &[1, 2])?;
                    } else {
                        assert_refused(client, to)?;
                    }
                }
            }
        }
        Ok(())
    });
}
