//! The backends that a client has by session affinity.

use std::net::IpAddr;

use lb_common::affinity::{address_client, ticks};
use lb_common::{Address, mapped};

use super::facts::Facts;
use crate::policy::ServicePort;
use crate::serve::{ExplainRequest, ExplainedClient};

/// The backends that the client has by affinity.
pub(super) fn clients(
    facts: &Facts<'_>,
    request: &ExplainRequest,
    port: &ServicePort,
) -> Vec<ExplainedClient> {
    let sockets = request.network.map(|cookie| ("sockets", cookie));
    let has_packets = facts.policy.packets().is_some();
    let packets = request.from.filter(|_| has_packets);
    let packets = packets.map(|from| ("packets", address_client(address(from))));
    let known = sockets.into_iter().chain(packets);
    known
        .filter_map(|(of, client)| explained(facts, port, of, client))
        .collect()
}

fn explained(
    facts: &Facts<'_>,
    port: &ServicePort,
    of: &str,
    client: u64,
) -> Option<ExplainedClient> {
    let found = facts.tables?.affinity(&port.key, client).ok()??;
    let seconds_left = found.affinity.seconds_left(now(), port.affinity_seconds?)?;
    Some(ExplainedClient {
        of: of.to_owned(),
        backend: found.address.map(|address| address.to_string()),
        seconds_left,
    })
}

/// The time of the programs' `bpf_ktime_get_coarse_ns`, in ticks.
fn now() -> u32 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::MonotonicCoarse);
    let nanoseconds = time.tv_sec * 1_000_000_000 + time.tv_nsec;
    ticks(u64::try_from(nanoseconds).unwrap_or_default())
}

/// In the form of the tables.
fn address(ip: IpAddr) -> Address {
    match ip {
        IpAddr::V4(ip) => mapped(u32::from(ip).to_be()),
        IpAddr::V6(ip) => bytemuck::must_cast(ip.octets()),
    }
}
