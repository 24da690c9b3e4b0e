//! Several nodes of one cluster, each with an agent of its own: which choices differ between them.

mod choice;
mod node_ports;

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, Result, ensure};
use lb_testbed::api_server::ApiServer;
use lb_testbed::{
    Agent, AgentProcess, Endpoint, NamedServer, Node, Pod, Sandbox, SliceManifest, sandboxed,
};
use serde_json::{Value, json};

use super::{address, service, slice};
use crate::churn::Client;
use crate::support::{TARGET, answers, failure, wait_for_backends};

/// The address of the Service `web`.
const WEB: u8 = 10;

/// The API server's address: the sandbox's own, which all nodes reach.
const API_SERVER: &str = "10.244.0.1:0";

/// A node, its agent, a pod that answers with the node's name, and a client pod.
struct Member {
    node: Node,
    agent: Agent,
    pod: Pod,
    client: Pod,
    _server: NamedServer,
    running: AgentProcess,
}

/// The nodes of a cluster: `node-a`, `node-b`, …
struct Nodes {
    server: ApiServer,
    members: Vec<Member>,
}

impl Nodes {
    /// This many nodes with running agents, and the Service `web` without endpoints.
    fn start(sandbox: &Sandbox, number: u8) -> Result<Self> {
        let server = ApiServer::start(API_SERVER)?;
        let kubeconfig = sandbox.dir().join("kubeconfig");
        server.write_kubeconfig(&kubeconfig)?;
        server.apply(&service("web", WEB).to_json())?;
        let members = (0..number).map(|index| {
            let letter = char::from(b'a' + index);
            let node = sandbox.node(&format!("node-{letter}"))?;
            let binary = env!("CARGO_BIN_EXE_lb-agent");
            let agent = Agent::of_node(binary, sandbox, &kubeconfig, &node);
            let pod = node.run(sandbox.pod(&format!("pod-{letter}"))?);
            Ok(Member {
                _server: NamedServer::tcp(&pod, TARGET, node.name())?,
                client: node.run(sandbox.pod(&format!("client-{letter}"))?),
                running: agent.spawn()?,
                node,
                agent,
                pod,
            })
        });
        let members = members.collect::<Result<_>>()?;
        let mut nodes = Self { server, members };
        for member in &mut nodes.members {
            member.running.wait_ready()?;
        }
        Ok(nodes)
    }

    /// The endpoint on a node.
    fn endpoint(&self, on: usize) -> Endpoint {
        let member = &self.members[on];
        Endpoint::new(member.pod.ipv4()).node(member.node.name())
    }

    /// Sets the Service's endpoints.
    fn apply(&self, endpoints: impl IntoIterator<Item = Endpoint>) -> Result<()> {
        let slice = endpoints
            .into_iter()
            .fold(slice("web"), SliceManifest::endpoint);
        self.server.apply(&slice.to_json())
    }

    fn apply_on(&self, on: &[usize]) -> Result<()> {
        self.apply(on.iter().map(|&on| self.endpoint(on)))
    }

    /// The Service, with these fields over the usual ones.
    fn apply_service(&self, fields: &[(&str, Value)]) -> Result<()> {
        let service = fields
            .iter()
            .fold(service("web", WEB), |service, (field, value)| {
                service.spec(field, value.clone())
            });
        self.server.apply(&service.to_json())
    }

    fn apply_node(&self, node: usize, zone: &str) -> Result<()> {
        self.server.apply(&json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {
                "name": self.members[node].node.name(),
                "labels": {"topology.kubernetes.io/zone": zone},
            },
        }))
    }

    /// Waits until a node's choices are these, and connects there.
    fn wait_for(&self, node: usize, chosen: &[usize]) -> Result<()> {
        let member = &self.members[node];
        let addresses: Vec<IpAddr> = chosen
            .iter()
            .map(|&on| self.members[on].pod.ipv4().into())
            .collect();
        let name = member.node.name();
        wait_for_backends(&member.agent, "web", &addresses).context(name.to_owned())?;
        self.assert_answers(node, chosen)
    }

    /// Connects from a node in its current state.
    fn assert_answers(&self, node: usize, chosen: &[usize]) -> Result<()> {
        let client = &self.members[node].client;
        if chosen.is_empty() {
            return assert_refused(client, address(WEB));
        }
        self.assert_answered(client, address(WEB), chosen)
    }

    /// Answered by the pods of exactly these nodes.
    fn assert_answered(&self, client: &Pod, to: SocketAddr, chosen: &[usize]) -> Result<()> {
        let answers: BTreeSet<String> = answers(client, to, 40)?.into_keys().collect();
        let wanted = chosen.iter().map(|&on| self.name(on).to_owned());
        let wanted: BTreeSet<String> = wanted.collect();
        ensure!(
            answers == wanted,
            "{} was answered by {answers:?} at {to}, not by {wanted:?}",
            client.name()
        );
        Ok(())
    }

    fn name(&self, node: usize) -> &str {
        self.members[node].node.name()
    }
}

fn assert_refused(client: &Pod, to: SocketAddr) -> Result<()> {
    let error = failure(client, to)?;
    ensure!(
        error.kind() == ErrorKind::ConnectionRefused,
        "{} at {to}: {error}",
        client.name()
    );
    Ok(())
}

#[test]
fn an_agent_that_ends_does_not_affect_other_nodes() {
    sandboxed(|sandbox| {
        let mut nodes = Nodes::start(sandbox, 3)?;
        nodes.apply_on(&[0])?;
        for node in 0..3 {
            nodes.wait_for(node, &[0])?;
        }
        nodes.members[0].running.kill()?;
        let ended = nodes.members[1].running.terminate()?;
        ensure!(ended.success(), "{ended}");
        nodes.apply_on(&[1, 2])?;
        nodes.wait_for(2, &[1, 2])?;
        // They continue with their known state.
        nodes.assert_answers(0, &[0])?;
        nodes.assert_answers(1, &[0])?;
        for node in [0, 1] {
            let running = nodes.members[node].agent.start()?;
            ensure!(running.log().has("tables.recovered"));
            nodes.members[node].running = running;
            nodes.wait_for(node, &[1, 2])?;
        }
        // One node is unloaded: its connects fail, and the others' are not affected.
        nodes.members[1].running.terminate()?;
        nodes.members[1].agent.unload()?;
        let error = failure(&nodes.members[1].client, address(WEB))?;
        assert_eq!(error.raw_os_error(), Some(libc::ENETUNREACH), "{error}");
        nodes.apply_on(&[0])?;
        nodes.wait_for(0, &[0])?;
        nodes.wait_for(2, &[0])
    });
}

#[test]
fn a_rollout_reaches_all_nodes_and_fails_no_connect() {
    sandboxed(|sandbox| {
        let nodes = Nodes::start(sandbox, 3)?;
        nodes.apply_on(&[2])?;
        let all_wait_for = |chosen: &[usize]| {
            let mut numbers = 0..nodes.members.len();
            numbers.try_for_each(|node| nodes.wait_for(node, chosen))
        };
        all_wait_for(&[2])?;
        let clients = nodes
            .members
            .iter()
            .map(|member| Client::start(&member.client, address(WEB), Result::is_ok));
        let clients: Vec<Client> = clients.collect();
        for round in 0..6 {
            let (old, new) = ((round + 2) % 3, round % 3);
            nodes.apply_on(&[old, new])?;
            all_wait_for(&[old, new])?;
            let ending = nodes.endpoint(old).conditions(false, true, true);
            nodes.apply([ending, nodes.endpoint(new)])?;
            all_wait_for(&[new])?;
        }
        for client in clients {
            client.finish()?;
        }
        Ok(())
    });
}
