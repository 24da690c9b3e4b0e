//! Compares where connections went with where they would have gone. Knows no kernel.
//!
//! Endpoints change on both sides at different moments. So a flow is right if what it did was right by our tables at any moment
//! from the tolerance before it until the tolerance after it, and a flow that is not right at first waits for that time.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use jiff::Timestamp;

use super::clients::Clients;
use super::expected::{Expected, Judgement};
use super::records::{Difference, Kind, PortId, Records};
use crate::catalog::{Family, Protocol};
use crate::policy::{ServicePort, ServicePortKey};

/// Flows that wait. Further ones are judged at once.
const MOST_WAITING: usize = 4_096;

/// How many of the backends that we would have chosen from a difference names.
const NAMED: usize = 8;

/// A new flow through this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    pub protocol: Protocol,
    pub client: SocketAddr,
    /// What the client connects to, or sends to.
    pub to: SocketAddr,
    /// The endpoint, or `to` if it is not translated.
    pub answers: SocketAddr,
}

/// The moment of a flow.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    pub at: Instant,
    pub time: Timestamp,
}

#[derive(Debug)]
pub struct Comparison {
    tolerance: Duration,
    expected: Expected,
    /// Addresses in these are Services'.
    service_cidrs: Vec<IpNet>,
    waiting: VecDeque<(Moment, Flow)>,
    records: Records,
}

impl Comparison {
    pub fn new(tolerance: Duration) -> Self {
        Self {
            tolerance,
            expected: Expected::default(),
            service_cidrs: Vec::new(),
            waiting: VecDeque::new(),
            records: Records::default(),
        }
    }

    pub fn set_clients(&mut self, clients: Clients) {
        self.expected.set_clients(clients);
    }

    pub fn set_service_cidrs(&mut self, cidrs: &[IpNet]) {
        self.service_cidrs = cidrs.to_vec();
    }

    /// Takes new and changed service ports, whose NodePorts have addresses, and removed ones.
    pub fn update(&mut self, changed: &[ServicePort], removed: &[ServicePortKey], now: Instant) {
        for key in removed {
            self.expected.remove(key, now);
        }
        for port in changed {
            self.expected.change(port, now);
            self.records.begin(PortId::of(&port.key));
        }
    }

    /// Compares a flow. Returns a difference if it is its Service's first one.
    pub fn take(&mut self, flow: Flow, moment: Moment) -> Option<(PortId, Difference)> {
        let since = moment.at.checked_sub(self.tolerance).unwrap_or(moment.at);
        match self.judge(&flow, since) {
            Judgement::Right(key) => {
                self.records.count_same(PortId::of(&key));
                None
            }
            Judgement::NoFrontend if !self.concerns(&flow) => None,
            _ if self.waiting.len() < MOST_WAITING => {
                self.waiting.push_back((moment, flow));
                None
            }
            judgement => self.conclude(flow, moment, judgement),
        }
    }

    /// Judges the flows that have waited long enough, and forgets what no flow needs any more. Returns the differences that are
    /// their Services' first ones. Call it every second.
    pub fn tick(&mut self, now: Instant) -> Vec<(PortId, Difference)> {
        let mut first = Vec::new();
        while let Some(&(moment, flow)) = self.waiting.front()
            && now.saturating_duration_since(moment.at) >= self.tolerance
        {
            self.waiting.pop_front();
            let since = moment.at.checked_sub(self.tolerance).unwrap_or(moment.at);
            let judgement = self.judge(&flow, since);
            first.extend(self.conclude(flow, moment, judgement));
        }
        // A flow that comes now looks back the tolerance, and is judged again that much later. A second is for the ticks.
        let span = self.tolerance * 2 + Duration::from_secs(1);
        if let Some(before) = now.checked_sub(span) {
            for key in self.expected.forget(before) {
                let is_left = |family| {
                    let key = ServicePortKey {
                        family,
                        ..key.clone()
                    };
                    self.expected.has(&key)
                };
                if ![Family::Ipv4, Family::Ipv6].into_iter().any(is_left) {
                    self.records.end(&PortId::of(&key));
                }
            }
        }
        first
    }

    /// How many flows have not been judged yet.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    pub const fn records(&self) -> &Records {
        &self.records
    }

    fn judge(&self, flow: &Flow, since: Instant) -> Judgement {
        let site = (flow.protocol, flow.to);
        self.expected
            .judge(site, flow.client.ip(), flow.answers, since)
    }

    /// Whether a flow to an address that is no frontend may be kube-proxy's: it is translated, and the address is a Service's.
    fn concerns(&self, flow: &Flow) -> bool {
        let address = flow.to.ip();
        flow.answers != flow.to
            && (self.expected.with_cluster_ip(address).is_some()
                || self.service_cidrs.iter().any(|net| net.contains(&address)))
    }

    fn conclude(
        &mut self,
        flow: Flow,
        moment: Moment,
        judgement: Judgement,
    ) -> Option<(PortId, Difference)> {
        let (port, kind, backends) = match judgement {
            Judgement::Right(key) => {
                self.records.count_same(PortId::of(&key));
                return None;
            }
            Judgement::Wrong { port, backends } => {
                let kind = if flow.answers == flow.to {
                    Kind::NotTranslated
                } else if backends.is_empty() {
                    Kind::WouldBeRefused
                } else {
                    Kind::OtherEndpoint
                };
                (PortId::of(&port), kind, backends)
            }
            Judgement::NoFrontend => {
                let owner = self.expected.with_cluster_ip(flow.to.ip());
                let port = PortId::unknown(owner, flow.protocol, flow.to.port());
                (port, Kind::UnknownFrontend, Vec::new())
            }
        };
        let difference = Difference {
            time: moment.time,
            kind,
            client: flow.client,
            frontend: flow.to,
            endpoint: flow.answers,
            backend_count: backends.len(),
            backends: backends.into_iter().take(NAMED).collect(),
        };
        let is_first = self.records.count_different(&port, &difference);
        is_first.then_some((port, difference))
    }
}
