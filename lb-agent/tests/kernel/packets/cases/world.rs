//! The machines of all cases, and connections between them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use lb_testbed::{Answer, NamedServer, NetworkNamespace, Question, RoutedNode, Sandbox};
use serde_json::Value;

use super::file::{Case, Flow};

/// How long a dropped question waits.
const SILENCE: Duration = Duration::from_millis(300);

/// Enough that one of three endpoints is missing once in 10^10 runs.
const QUESTIONS: usize = 60;

/// Machines with one address each, all of them behind the node.
pub struct World<'s> {
    pub node: RoutedNode<'s>,
    machines: BTreeMap<IpAddr, NetworkNamespace>,
    servers: BTreeMap<(SocketAddr, String), NamedServer>,
}

impl<'s> World<'s> {
    pub fn new(sandbox: &'s Sandbox, cases: &[Case]) -> Result<Self> {
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

    pub fn check(&self, flow: &Flow) -> Result<()> {
        let question = Question::to((flow.destination, flow.port));
        match &*flow.verdict {
            "ENDPOINTS" => self.check_endpoints(flow, question),
            // What no rule is about, the node itself refuses: it has no such socket.
            "REJECT" | "" => match self.ask(flow, question)? {
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(()),
                other => bail!("not refused: {other:?}"),
            },
            "DROP" => match self.ask(flow, question.within(SILENCE))? {
                Err(error)
                    if matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock) =>
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
