//! A hundred permanent Services, a few that are added and removed, and the servers of each. Every server has an address of its
//! own, so an answer identifies it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Result, ensure};
use lb_testbed::api_server::{ApiServer, Kind};
use lb_testbed::{Family, ServiceManifest, SliceManifest};
use serde_json::json;

use super::ledger::{Ledger, NOBODY, Set};
use crate::support::{PORT, TARGET};

/// Services all of whose servers stay, so that every connection can be counted.
const STEADY: usize = 4;

/// Permanent Services.
const LASTING: usize = 100;

/// Services that are added and removed.
const GUESTS: usize = 8;

/// The most servers of a Service.
const SERVERS: usize = 4;

/// All of them.
const EVERYBODY: Set = (1 << SERVERS) - 1;

/// The Services by their servers' numbers.
pub type Answers = [AtomicU64; SERVERS];

pub struct Services(Vec<Service>);

/// A Service, which has the same servers over TCP and UDP.
pub struct Service {
    number: u32,
    pub at: SocketAddr,
    pub servers: [IpAddr; SERVERS],
    pub ledger: Ledger,
    /// The number of connections that each server answered.
    pub tcp_answers: Answers,
    pub udp_answers: Answers,
    /// How often it was added: each time with another name, at the same address.
    generation: AtomicU64,
}

impl Services {
    pub fn new() -> Self {
        let all = (0..).take(LASTING + GUESTS);
        Self(all.map(Service::new).collect())
    }

    pub fn all(&self) -> &[Service] {
        &self.0
    }

    pub fn lasting(&self) -> &[Service] {
        &self.0[..LASTING]
    }

    pub fn steady(&self) -> &[Service] {
        &self.0[..STEADY]
    }

    pub fn changing(&self) -> &[Service] {
        &self.0[STEADY..LASTING]
    }

    pub fn guests(&self) -> &[Service] {
        &self.0[LASTING..]
    }

    /// The addresses of all servers.
    pub fn servers(&self) -> impl Iterator<Item = IpAddr> {
        self.0.iter().flat_map(|service| service.servers)
    }

    /// The agent's report once everything is in effect: by name and protocol, sorted.
    pub fn backends(&self) -> BTreeMap<(String, String), Vec<IpAddr>> {
        let present = self.0.iter().filter(|service| service.is_there());
        present
            .flat_map(|service| {
                let servers = service.members(service.ledger.now());
                ["TCP", "UDP"].map(|protocol| {
                    let port = (service.name(), protocol.to_owned());
                    (port, servers.clone())
                })
            })
            .collect()
    }
}

impl Service {
    /// Every other one uses IPv6.
    fn new(number: u32) -> Self {
        let ipv4 = |net: [u8; 4], place: u32| {
            let net = Ipv4Addr::from(net).to_bits();
            IpAddr::from(Ipv4Addr::from_bits(net + place))
        };
        let ipv6 = |net: u16, place: u32| {
            let net = Ipv6Addr::new(0xfd00, net, 0, 0, 0, 0, 1, 0).to_bits();
            IpAddr::from(Ipv6Addr::from_bits(net + u128::from(place)))
        };
        let numbers = [0, 1, 2, 3];
        let (cluster_ip, servers) = match number.is_multiple_of(2) {
            true => (
                ipv4([10, 96, 1, 0], number),
                numbers.map(|server| ipv4([10, 244, 0, 20], number / 2 * 4 + server)),
            ),
            false => (
                ipv6(0x96, number),
                numbers.map(|server| ipv6(0x244, number * 4 + server)),
            ),
        };
        Self {
            number,
            at: (cluster_ip, PORT).into(),
            servers,
            ledger: Ledger::new(),
            tcp_answers: Default::default(),
            udp_answers: Default::default(),
            generation: AtomicU64::new(0),
        }
    }

    fn is_steady(&self) -> bool {
        (0..).take(STEADY).any(|steady| steady == self.number)
    }

    pub fn is_there(&self) -> bool {
        self.ledger.now() & NOBODY == 0
    }

    /// The number of the server with an address.
    pub fn server(&self, address: IpAddr) -> Option<usize> {
        self.servers.iter().position(|server| *server == address)
    }

    /// The Service is added, with some servers.
    pub fn create(&self, server: &ApiServer, random: &mut fastrand::Rng) -> Result<()> {
        self.generation.fetch_add(1, Ordering::Relaxed);
        let servers = self.some(random);
        self.ledger.change(servers, || {
            server.apply(&self.service())?;
            server.apply(&self.slice(servers))
        })
    }

    /// The Service gets other servers.
    pub fn change(&self, server: &ApiServer, random: &mut fastrand::Rng) -> Result<()> {
        let mut servers = self.some(random);
        while servers == self.ledger.now() {
            servers = self.some(random);
        }
        self.ledger
            .change(servers, || server.apply(&self.slice(servers)))
    }

    /// The Service is removed.
    pub fn delete(&self, server: &ApiServer) -> Result<()> {
        let name = self.name();
        self.ledger.change(NOBODY, || {
            ensure!(server.delete(Kind::Service, "default", &name));
            ensure!(server.delete(Kind::EndpointSlice, "default", &name));
            Ok(())
        })
    }

    fn some(&self, random: &mut fastrand::Rng) -> Set {
        match self.is_steady() {
            true => EVERYBODY,
            false => random.u32(1..=EVERYBODY),
        }
    }

    fn name(&self) -> String {
        let generation = self.generation.load(Ordering::Relaxed);
        format!("service-{}-{generation}", self.number)
    }

    /// Sorted.
    fn members(&self, set: Set) -> Vec<IpAddr> {
        let is_in = |(number, _): &(usize, &IpAddr)| set & 1 << number != 0;
        let members = self.servers.iter().enumerate().filter(is_in);
        members.map(|(_, server)| *server).collect()
    }

    fn service(&self) -> serde_json::Value {
        let service = ServiceManifest::new(&self.name())
            .cluster_ip(self.at.ip())
            .port("tcp", PORT)
            .udp_port("udp", PORT);
        let algorithm = |name| service.clone().annotation("socklb.dev/algorithm", name);
        match self.number / 2 % 5 {
            1 => algorithm("maglev"),
            2 => algorithm("least-conn"),
            3 => algorithm("round-robin"),
            4 => service.spec("sessionAffinity", json!("ClientIP")),
            _ => service,
        }
        .to_json()
    }

    fn slice(&self, servers: Set) -> serde_json::Value {
        let family = match self.at.is_ipv4() {
            true => Family::IPv4,
            false => Family::IPv6,
        };
        SliceManifest::new(&self.name(), family)
            .named(&self.name())
            .port("tcp", TARGET)
            .udp_port("udp", TARGET)
            .addresses(self.members(servers))
            .to_json()
    }
}
