//! kube-proxy's recorded connections as real packets: those of pods and of clients elsewhere (`tests/rule_cases/` compares the
//! policy with them, and explains the file).

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use lb_testbed::{
    Agent, AgentProcess, Answer, Manifests, NamedServer, NetworkNamespace, Question, RoutedNode,
    Sandbox, sandboxed_within,
};
use serde::Deserialize;
use serde_json::Value;

const VARIABLE: &str = "SOCKLB_RULE_CASES";

/// How long a dropped question waits.
const SILENCE: Duration = Duration::from_millis(300);

/// Enough that one of three endpoints is missing once in 10^10 runs.
const QUESTIONS: usize = 60;

#[derive(Debug, Deserialize)]
struct File {
    cases: Vec<Case>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Case {
    id: String,
    node: Node,
    #[serde(default)]
    node_port_addresses: String,
    #[serde(default)]
    masquerade_all: bool,
    #[serde(default)]
    objects: Vec<Value>,
    #[serde(default)]
    flows: Vec<Flow>,
}

#[derive(Debug, Deserialize)]
struct Node {
    name: String,
    #[serde(default)]
    ips: Vec<IpAddr>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Flow {
    name: String,
    client: String,
    #[serde(rename = "sourceIP")]
    source: IpAddr,
    protocol: String,
    #[serde(rename = "destIP")]
    destination: IpAddr,
    #[serde(rename = "destPort")]
    port: u16,
    verdict: String,
    endpoints: Vec<String>,
    masquerade: bool,
}

/// Why a recorded connection is not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum LeftOut {
    Sctp,
    /// Its connects are balanced at the socket.
    TheNodeItself,
    HealthCheckNodePort,
    /// The source is a Service's address, which no machine can have.
    FromAFrontend,
    /// Left to routing, where kube-proxy's nftables mode drops it.
    UnallocatedClusterIp,
}

impl Case {
    fn left_out(&self, flow: &Flow) -> Option<LeftOut> {
        let addresses: BTreeSet<&str> = self.addresses().collect();
        if flow.protocol == "SCTP" {
            Some(LeftOut::Sctp)
        } else if flow.client == "node" {
            Some(LeftOut::TheNodeItself)
        } else if flow.endpoints == ["ACCEPT"] || self.id.contains("HealthCheckNodePort") {
            Some(LeftOut::HealthCheckNodePort)
        } else if addresses.contains(&*flow.source.to_string()) {
            Some(LeftOut::FromAFrontend)
        } else if flow.verdict == "DROP"
            && flow.destination.to_string().starts_with("172.30.")
            && !addresses.contains(&*flow.destination.to_string())
        {
            Some(LeftOut::UnallocatedClusterIp)
        } else {
            None
        }
    }

    /// ClusterIPs and LoadBalancer IPs of the Services.
    fn addresses(&self) -> impl Iterator<Item = &str> {
        self.objects.iter().flat_map(|object| {
            let ingress = object["status"]["loadBalancer"]["ingress"].as_array();
            let ingress = ingress.into_iter().flatten().map(|ingress| &ingress["ip"]);
            let all = ingress.chain([&object["spec"]["clusterIP"]]);
            all.filter_map(Value::as_str)
        })
    }

    /// The agent's flags; kube-proxy's have the same names.
    fn flags(&self) -> Vec<String> {
        let ranges = self.node_port_addresses.trim_matches(['[', ']']);
        let mut flags = vec![
            "--packet-path=on".to_owned(),
            format!("--nodeport-addresses={}", ranges.replace(' ', ",")),
        ];
        if !self.id.contains("no LocalTrafficDetector") {
            flags.push("--cluster-cidr=10.0.0.0/8,fd00:10::/64".to_owned());
        }
        if self.masquerade_all {
            flags.push("--masquerade-all".to_owned());
        }
        flags
    }
}

/// Machines with one address each, all of them behind the node.
struct World<'s> {
    node: RoutedNode<'s>,
    machines: BTreeMap<IpAddr, NetworkNamespace>,
    servers: BTreeMap<(SocketAddr, String), NamedServer>,
}

impl<'s> World<'s> {
    fn new(sandbox: &'s Sandbox, cases: &[Case]) -> Result<Self> {
        let node = RoutedNode::new(sandbox)?;
        let ips: BTreeSet<IpAddr> = cases
            .iter()
            .flat_map(|case| case.node.ips.iter().copied())
            .collect();
        node.namespace()
            .ip("link add addresses type bridge\nlink set addresses up\n")?;
        for ip in ips {
            let flag = if ip.is_ipv6() { "nodad" } else { "" };
            let line = format!("addr add {} dev addresses {flag}\n", whole(ip));
            node.namespace().ip(&line)?;
        }
        let mut world = Self {
            node,
            machines: BTreeMap::new(),
            servers: BTreeMap::new(),
        };
        for case in cases {
            for flow in &case.flows {
                if case.left_out(flow).is_none() {
                    world.add_machine(flow.source)?;
                }
            }
            for object in &case.objects {
                world.serve(object)?;
            }
        }
        Ok(world)
    }

    fn add_machine(&mut self, address: IpAddr) -> Result<()> {
        if self.machines.contains_key(&address) {
            return Ok(());
        }
        let machine = NetworkNamespace::create()?;
        let device = format!("machine{}", self.machines.len());
        // The node's address on each link, which is nobody's Service.
        let (gateway, flag) = match address {
            IpAddr::V4(_) => (IpAddr::from([169, 254, 0, 1]), ""),
            IpAddr::V6(_) => (IpAddr::from([0xfd00, 0xff, 0, 0, 0, 0, 0, 1]), "nodad"),
        };
        self.node.namespace().ip(&format!(
            "link add {device} type veth peer name eth0 netns {}\n\
             addr add {} dev {device} {flag}\n\
             link set {device} up\n\
             route add {} dev {device}\n",
            machine.path(),
            whole(gateway),
            whole(address)
        ))?;
        machine.ip(&format!(
            "link set lo up\n\
             addr add {} dev eth0 {flag}\n\
             link set eth0 up\n\
             route add {} dev eth0\n\
             route add default via {gateway}\n",
            whole(address),
            whole(gateway)
        ))?;
        self.machines.insert(address, machine);
        Ok(())
    }

    /// Serves the endpoints of an EndpointSlice, ready or not, with their addresses and ports as names.
    fn serve(&mut self, object: &Value) -> Result<()> {
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        for endpoint in list(&object["endpoints"]) {
            for port in list(&object["ports"]) {
                let address = endpoint["addresses"][0].as_str().context("an address")?;
                let number = u16::try_from(port["port"].as_u64().context("a port")?)?;
                let protocol = port["protocol"].as_str().unwrap_or("TCP").to_owned();
                let at = SocketAddr::new(address.parse()?, number);
                if protocol == "SCTP" || self.servers.contains_key(&(at, protocol.clone())) {
                    continue;
                }
                self.add_machine(at.ip())?;
                let machine = &self.machines[&at.ip()];
                let name = at.to_string();
                let server = match &*protocol {
                    "UDP" => NamedServer::udp_with_client_in(machine, number, &name)?,
                    _ => NamedServer::tcp_with_client_in(machine, number, &name)?,
                };
                self.servers.insert((at, protocol), server);
            }
        }
        Ok(())
    }

    fn ask(&self, flow: &Flow, question: Question) -> Result<std::io::Result<Answer>> {
        let machine = self.machines.get(&flow.source).context("no such machine")?;
        Ok(machine.enter(|| match &*flow.protocol {
            "UDP" => question.over_udp(),
            _ => question.over_tcp(),
        })?)
    }

    fn check(&self, flow: &Flow) -> Result<()> {
        let question = Question::to((flow.destination, flow.port));
        match &*flow.verdict {
            "ENDPOINTS" => self.check_endpoints(flow, question),
            // What no rule is about, the node itself refuses: it has no such socket.
            "REJECT" | "" => match self.ask(flow, question)? {
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => Ok(()),
                other => bail!("not refused: {other:?}"),
            },
            "DROP" => match self.ask(flow, question.within(SILENCE))? {
                Err(error)
                    if matches!(
                        error.kind(),
                        std::io::ErrorKind::TimedOut | std::io::ErrorKind::WouldBlock
                    ) =>
                {
                    Ok(())
                }
                other => bail!("not dropped: {other:?}"),
            },
            other => bail!("an unknown verdict: {other}"),
        }
    }

    fn check_endpoints(&self, flow: &Flow, question: Question) -> Result<()> {
        let wanted: BTreeSet<SocketAddr> = flow
            .endpoints
            .iter()
            .map(|text| text.parse().with_context(|| text.clone()))
            .collect::<Result<_>>()?;
        let mut missing = wanted.clone();
        for _ in 0..QUESTIONS {
            let answer = self.ask(flow, question)??;
            let name: SocketAddr = answer.name.parse()?;
            ensure!(wanted.contains(&name), "{name} is none of {wanted:?}");
            let seen = answer.client.ip();
            ensure!(
                (seen != flow.source) == flow.masquerade,
                "{name} saw {seen}; masqueraded: {}",
                flow.masquerade
            );
            missing.remove(&name);
            if missing.is_empty() {
                return Ok(());
            }
        }
        bail!("{missing:?} never answered")
    }
}

/// An address as a network.
fn whole(address: IpAddr) -> String {
    let length = if address.is_ipv4() { 32 } else { 128 };
    format!("{address}/{length}")
}

/// Starts an agent with a case's objects on its node.
fn start(
    sandbox: &Sandbox,
    world: &World<'_>,
    manifests: &Manifests,
    case: &Case,
) -> Result<AgentProcess> {
    // The testbed's agents are all on this node.
    let text = serde_json::to_string(&case.objects)?.replace(&case.node.name, "node-a");
    let objects: Vec<Value> = serde_json::from_str(&text)?;
    manifests.write("case.json", objects)?;
    let agent = Agent::on_cgroup(
        env!("CARGO_BIN_EXE_lb-agent"),
        sandbox,
        manifests.folder(),
        world.node.cgroup(),
    );
    case.flags().iter().fold(agent, Agent::arg).start()
}

#[test]
fn kube_proxys_recorded_connections_end_as_recorded() {
    sandboxed_within(Duration::from_secs(600), |sandbox| {
        let Some(path) = std::env::var_os(VARIABLE) else {
            println!(
                "kube-proxy's own cases were NOT run: {VARIABLE} does not name a file of them"
            );
            return Ok(());
        };
        let mut file: File = serde_json::from_str(&std::fs::read_to_string(path)?)?;
        file.cases.retain(|case| !case.flows.is_empty());
        let world = World::new(sandbox, &file.cases)?;
        let manifests = sandbox.manifests()?;
        let mut left_out: BTreeMap<LeftOut, usize> = BTreeMap::new();
        let mut failures = Vec::new();
        let mut compared = 0;
        let mut before: Option<(&Case, AgentProcess)> = None;
        for case in &file.cases {
            let flows: Vec<&Flow> = case
                .flows
                .iter()
                .filter(|flow| match case.left_out(flow) {
                    Some(reason) => {
                        *left_out.entry(reason).or_default() += 1;
                        false
                    }
                    None => true,
                })
                .collect();
            if flows.is_empty() {
                continue;
            }
            let is_like_last = before.as_ref().is_some_and(|(last, _)| {
                last.objects == case.objects && last.flags() == case.flags()
            });
            if !is_like_last {
                if let Some((_, mut agent)) = before.take() {
                    agent.terminate()?;
                }
                let agent =
                    start(sandbox, &world, &manifests, case).with_context(|| case.id.clone())?;
                before = Some((case, agent));
            }
            for flow in flows {
                compared += 1;
                if let Err(error) = world.check(flow) {
                    failures.push(format!(
                        "{}: {}: {} from {} to {}:{}: {error:#}",
                        case.id, flow.name, flow.protocol, flow.source, flow.destination, flow.port
                    ));
                }
            }
        }
        println!("{compared} connections of kube-proxy's cases; left out: {left_out:?}");
        ensure!(
            failures.is_empty(),
            "{} of {compared} end otherwise:\n{}",
            failures.len(),
            failures.join("\n")
        );
        ensure!(compared > 0);
        Ok(())
    });
}
