//! Full tables of the kernel programs: what stops working, and what does not.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;

use anyhow::{Result, ensure};
use aya::maps::{Array, HashMap, Map, MapData};
use lb_common::Pair;
use lb_common::flow::FlowKey;
use lb_common::origin::Entry;
use lb_common::origin::Set;
use lb_testbed::{
    Agent, Family, NamedServer, Pod, ServiceManifest, SliceManifest, connect, sandboxed,
};
use socket2::Domain;

use crate::support::{Web, active, agent, backends, eventually, status};
use crate::udp::{ask, socket};

/// A pinned map.
fn pinned(agent: &Agent, room: &str, name: &str) -> Result<MapData> {
    let path: PathBuf = agent.pin_dir().join(room).join(name);
    Ok(MapData::from_pin(path)?)
}

/// Fills all entries with cookies of sockets that do not exist.
fn fill_places(agent: &Agent) -> Result<()> {
    let mut cookies = 1_u64 << 60_u32..;
    let mut entry = || Entry {
        cookie: cookies.next().unwrap_or(1),
        pair: 0,
    };
    let origins = Map::Array(pinned(agent, "origins-v1", "ORIGINS")?);
    let mut origins: Array<MapData, Set> = origins.try_into()?;
    for set in 0..origins.len() {
        let set_of = Set {
            entries: [entry(), entry(), entry(), entry()],
        };
        origins.set(set, set_of, 0)?;
    }
    let spill = pinned(agent, "origins-v1", "SPILL")?;
    let room = spill.info()?.max_entries();
    let mut spill: HashMap<MapData, u64, u64> = Map::HashMap(spill).try_into()?;
    for _ in 0..room {
        spill.insert(entry().cookie, Pair::default().to_word(), 0)?;
    }
    let spilled = Map::Array(pinned(agent, "origins-v1", "SPILLED")?);
    let mut spilled: Array<MapData, u64> = spilled.try_into()?;
    spilled.set(0, u64::from(room), 0)?;
    Ok(())
}

#[test]
fn a_socket_without_an_entry_is_still_balanced() {
    sandboxed(|sandbox| {
        let web = Web::start(sandbox, 2, 2)?;
        fill_places(&web.agent)?;
        let backends_of_web: Vec<SocketAddr> = backends(&web.agent)?
            .iter()
            .map(|backend| backend.address.parse())
            .collect::<Result<_, _>>()?;
        for _ in 0..20 {
            let stream = web.client.enter(|| connect(Web::ADDRESS))??;
            // These sockets lose the answer of getpeername, and are missing from the active count.
            ensure!(backends_of_web.contains(&stream.peer_addr()?));
            assert_eq!(active(&web.agent)?, 0);
        }
        let connections: u64 = backends(&web.agent)?.iter().map(|b| b.connections).sum();
        assert_eq!(connections, 20);

        // No socket uses these entries: the next sweep removes them.
        let mut running = web.running;
        running.terminate()?;
        let agent = web.agent.arg("--sweep-interval").arg("1s");
        let mut running = agent.start()?;
        let swept = running.wait_for_event("sweep.finished")?;
        assert_eq!(swept["count"], 278_528);
        let stream = web.client.enter(|| connect(Web::ADDRESS))??;
        assert_eq!(stream.peer_addr()?, Web::ADDRESS);
        assert_eq!(active(&agent)?, 1);
        drop(stream);
        assert_eq!(active(&agent)?, 0);
        Ok(())
    });
}

const PORT: u16 = 53;
const SERVICES: u8 = 140;
const SOCKETS: usize = 150;

fn service(number: u8) -> SocketAddr {
    (Ipv4Addr::new(10, 96, 1, number), PORT).into()
}

/// One Service for each of a pod's addresses.
fn services(pod: &Pod) -> Result<Vec<serde_json::Value>> {
    let mut objects = Vec::new();
    for number in 0..SERVICES {
        let address = Ipv4Addr::new(10, 244, 0, 100 + number);
        pod.add_address(address.into())?;
        let name = format!("dns-{number}");
        let service = ServiceManifest::new(&name)
            .cluster_ip(service(number).ip())
            .udp_port("dns", PORT);
        let slice = SliceManifest::new(&name, Family::IPv4)
            .udp_port("dns", PORT)
            .address(address);
        objects.extend([service.to_json(), slice.to_json()]);
    }
    Ok(objects)
}

#[test]
fn surplus_flows_evict_the_oldest() {
    sandboxed(|sandbox| {
        let pod = sandbox.pod("server")?;
        let client = sandbox.pod("client")?;
        let _server = NamedServer::udp(&pod, PORT, "server")?;
        let manifests = sandbox.manifests()?;
        manifests.write("dns.json", services(&pod)?)?;
        let agent = agent(sandbox, &manifests);
        let _running = agent.start()?;
        client.enter(|| -> Result<()> {
            let sockets: Vec<UdpSocket> = (0..SOCKETS)
                .map(|_| socket(Domain::IPV4))
                .collect::<Result<_>>()?;
            for socket in &sockets {
                for number in 0..SERVICES {
                    assert_eq!(ask(socket, service(number))?, "server");
                }
            }
            let flows = pinned(&agent, "tables-v1", "FLOWS")?;
            let room = flows.info()?.max_entries() as usize;
            let flows: HashMap<MapData, FlowKey, u32> = Map::LruHashMap(flows).try_into()?;
            let in_use = flows.keys().count();
            ensure!(SOCKETS * usize::from(SERVICES) > room, "they do not fit");
            ensure!(in_use <= room && in_use > room / 2, "{in_use} of {room}");
            // Evicted flows return with the next datagram.
            for number in 0..SERVICES {
                assert_eq!(ask(&sockets[0], service(number))?, "server");
            }
            assert_eq!(active(&agent)?, SOCKETS as u64);
            drop(sockets);
            assert_eq!(active(&agent)?, 0);
            Ok(())
        })??;
        Ok(())
    });
}

#[test]
fn a_service_with_thousands_of_ports_is_served() {
    sandboxed(|sandbox| {
        let pod = sandbox.pod("server")?;
        let client = sandbox.pod("client")?;
        let _servers = [
            NamedServer::tcp(&pod, 8080, "tcp")?,
            NamedServer::udp(&pod, 8080, "udp")?,
        ];
        let manifests = sandbox.manifests()?;
        let (first, last) = (10_000, 13_999);
        let address = Ipv4Addr::new(10, 96, 0, 1);
        let mut service = ServiceManifest::new("many").cluster_ip(address);
        let mut slice = SliceManifest::new("many", Family::IPv4).address(pod.ipv4());
        for port in first..=last {
            let name = format!("p{port}");
            (service, slice) = if port % 2 == 0 {
                (service.port(&name, port), slice.port(&name, 8080))
            } else {
                (service.udp_port(&name, port), slice.udp_port(&name, 8080))
            };
        }
        manifests.write("many.json", [service.to_json(), slice.to_json()])?;
        let agent = agent(sandbox, &manifests);
        let _running = agent.start()?;
        assert_eq!(status(&agent)?.frontends, 4_000);
        client.enter(|| -> Result<()> {
            let socket = socket(Domain::IPV4)?;
            for port in (first..=last).step_by(7) {
                let to = SocketAddr::from((address, port));
                if port % 2 == 0 {
                    assert_eq!(lb_testbed::connect_name(to)?, "tcp");
                } else {
                    // They share one backend, so the reply names the Service that was used last.
                    assert_eq!(ask(&socket, to)?, "udp");
                }
            }
            for port in [first - 1, last + 1] {
                let error = connect((address, port)).err();
                let error = error.and_then(|error| error.raw_os_error());
                assert_eq!(error, Some(libc::ECONNREFUSED), "{port}");
            }
            Ok(())
        })??;
        manifests.remove("many.json")?;
        eventually("the Service is gone", || Ok(status(&agent)?.frontends == 0))?;
        Ok(())
    });
}
