//! The clusters that are measured.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::Result;
use lb_testbed::api_server::ApiServer;
use lb_testbed::{Endpoint, Family, ServiceManifest, SliceManifest};

use crate::services::{BACKEND_PORT, PORT};

/// The size of a cluster: Services, ports of each, endpoints of each. Slices have at most a hundred endpoints.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClusterShape {
    pub(super) services: usize,
    pub(super) ports: u16,
    pub(super) endpoints: u16,
    /// The agent has the packet path on.
    pub(super) has_packets: bool,
}

/// As the control plane makes them.
const SLICE: u16 = 100;

impl ClusterShape {
    pub(super) const fn of(services: usize, ports: u16, endpoints: u16) -> Self {
        Self {
            services,
            ports,
            endpoints,
            has_packets: false,
        }
    }

    /// The same, with the packet path.
    pub(super) const fn with_packets(self) -> Self {
        Self {
            has_packets: true,
            ..self
        }
    }

    pub(super) fn name(self) -> String {
        let ports = match self.ports {
            1 => String::new(),
            ports => format!(" of {ports} ports"),
        };
        let packets = if self.has_packets { " + packets" } else { "" };
        format!("{}{ports} × {}{packets}", self.services, self.endpoints)
    }

    /// Puts all Services and slices into the server.
    pub(super) fn fill(self, server: &ApiServer) -> Result<()> {
        for number in 0..self.services {
            let address = self.address(number)?.ip();
            let service = ServiceManifest::new(&name(number)).cluster_ip(address);
            let service = (0..self.ports).fold(service, |service, port| {
                service.port(&port_name(port), PORT + port)
            });
            server.apply(&service.to_json())?;
            for part in 0..self.endpoints.div_ceil(SLICE) {
                server.apply(&self.slice(number, part, None)?.to_json())?;
            }
        }
        Ok(())
    }

    /// Where the first port of a Service is.
    pub(super) fn address(self, number: usize) -> Result<SocketAddr> {
        let first = u32::from(Ipv4Addr::new(10, 96, 0, 1));
        let address = Ipv4Addr::from(first + u32::try_from(number)?);
        Ok((address, PORT).into())
    }

    /// A slice of a Service, in which one endpoint may be unready.
    pub(super) fn slice(
        self,
        number: usize,
        part: u16,
        unready: Option<u16>,
    ) -> Result<SliceManifest> {
        let slice = SliceManifest::new(&name(number), Family::IPv4)
            .named(&format!("{}-{part}", name(number)));
        let slice = (0..self.ports).fold(slice, |slice, port| {
            slice.port(&port_name(port), BACKEND_PORT + port)
        });
        let first = u32::from(Ipv4Addr::new(10, 128, 0, 1));
        let of_service = first + u32::try_from(number)? * u32::from(self.endpoints);
        let last = self.endpoints.min((part + 1) * SLICE);
        Ok((part * SLICE..last).fold(slice, |slice, index| {
            let address = Ipv4Addr::from(of_service + u32::from(index));
            let endpoint = Endpoint::new(IpAddr::from(address)).node("node-b");
            slice.endpoint(if unready == Some(index) {
                endpoint.not_ready()
            } else {
                endpoint
            })
        }))
    }
}

fn name(number: usize) -> String {
    format!("service-{number}")
}

fn port_name(port: u16) -> String {
    format!("port-{port}")
}
