//! What a connect gets, in a sentence.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::asked::Asked;
use super::facts::Facts;
use crate::policy::explain::{Miss, Other, Selection};
use crate::policy::{Backend, Frontend, FrontendKind, Scope};
use crate::serve::{ExplainRequest, ExplainedClient, ExplainedPort, Outcome, Verdict};

/// There is no such target.
pub(super) const fn unknown(message: String) -> Verdict {
    Verdict {
        outcome: Outcome::Unknown,
        message,
    }
}

pub(super) fn unchanged(why: &str) -> Verdict {
    Verdict {
        outcome: Outcome::Unchanged,
        message: format!("A connect passes unchanged: {why}."),
    }
}

fn refused(why: &str) -> Verdict {
    Verdict {
        outcome: Outcome::Refused,
        message: format!("A connect is refused: {why}."),
    }
}

/// The key under which the programs look up a destination: 127.0.0.1 for every IPv4 loopback address, and loopback for an
/// unspecified address, as the kernel connects there.
pub(super) fn lookup(target: SocketAddr) -> SocketAddr {
    let ip = match target.ip() {
        IpAddr::V4(ip) if ip.is_loopback() || ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, target.port())
}

/// Of a connect to an address and port that is not a frontend.
///
/// `others`: the Services that have the address.
pub(super) fn of_miss(facts: &Facts<'_>, address: IpAddr, others: &[Other]) -> Verdict {
    let verdict = of_served_miss(facts, address, others);
    match &facts.unserved {
        Some(why) if verdict.outcome == Outcome::Refused => unchanged(why),
        _ => verdict,
    }
}

fn of_served_miss(facts: &Facts<'_>, address: IpAddr, others: &[Other]) -> Verdict {
    // A ClusterIP refuses no port while the tables lack one of its service ports.
    let is_unfit = || {
        let mut ports = others
            .iter()
            .flat_map(|other| facts.policy.ports_of(&other.service));
        ports.any(|port| facts.refusal(&port.key).is_some())
    };
    match facts.explainer().miss(address) {
        Miss::UnknownPort if !is_unfit() => {
            refused(&format!("the ClusterIP {address} does not have this port"))
        }
        Miss::UnknownAddress(cidr) => refused(&format!(
            "no Service has {address}, which is in the Service CIDR {cidr}"
        )),
        Miss::UnknownPort | Miss::Passes if others.is_empty() => {
            unchanged("it is not to an address of a Service")
        }
        Miss::UnknownPort | Miss::Passes => {
            unchanged("no Service has a frontend at this address and port")
        }
    }
}

/// Of a connect of a process on this node to a frontend.
pub(super) fn of_frontend(facts: &Facts<'_>, asked: &Asked<'_>, frontend: &Frontend) -> Verdict {
    let &Asked { port, refusal, .. } = asked;
    if let Some(why) = &facts.unserved {
        return unchanged(why);
    }
    if let Some(refusal) = refusal {
        return unchanged(&format!(
            "the tables do not have it as it is now; {}",
            refusal.message
        ));
    }
    if port.has_source_ranges(frontend) {
        return unchanged(
            "spec.loadBalancerSourceRanges lets only packets from these ranges in, and a socket has no address yet",
        );
    }
    let is_host = is_host(facts, asked.request);
    if frontend.is_host_only() && is_host == Some(false) {
        return unchanged("only the host's own processes reach NodePorts on loopback addresses");
    }
    let scope = match frontend.kind {
        FrontendKind::ClusterIp => Scope::Internal,
        _ => Scope::External,
    };
    let is_in = |backend: &&Backend| match scope {
        Scope::Internal => backend.internal,
        _ => backend.external,
    };
    let backends: Vec<&Backend> = port.backends.iter().filter(is_in).collect();
    let whose = match frontend.is_host_only() && is_host.is_none() {
        true => "A connect of the host's own processes",
        false => "A connect",
    };
    let message = match (&backends[..], kept(asked.clients, &backends)) {
        ([], _) => {
            let selection = asked.selections.iter().find(|of| of.scope == scope);
            return refused(why_none(selection));
        }
        (_, Some((kept, seconds))) => format!(
            "{whose} goes to the backend {kept}, which the client has by session affinity for {seconds} s."
        ),
        ([only], None) => format!("{whose} goes to the backend {}.", only.address),
        (_, None) => format!("{whose} goes to one of {} backends.", backends.len()),
    };
    Verdict {
        outcome: Outcome::Balanced,
        message,
    }
}

/// Why a view has no backend.
fn why_none(selection: Option<&Selection<'_>>) -> &'static str {
    match selection {
        Some(of) if of.endpoints.is_empty() => "the Service has no endpoints",
        Some(of) if of.endpoints.iter().all(|of| of.port.is_none()) => {
            "no endpoint can be used for this port"
        }
        Some(of) if of.is_local => {
            "the traffic policy is Local, and no endpoint on this node is ready"
        }
        _ => "no endpoint is ready",
    }
}

/// Of all frontends together; none if there are none.
pub(super) fn of_all(ports: &[ExplainedPort]) -> Option<Verdict> {
    let verdicts = ports.iter().flat_map(|port| &port.frontends);
    let verdicts: Vec<&Verdict> = verdicts.map(|frontend| &frontend.verdict).collect();
    let first = *verdicts.first()?;
    if verdicts.iter().all(|verdict| *verdict == first) {
        return Some(first.clone());
    }
    let number = |outcome| {
        let of_outcome = verdicts.iter().filter(|verdict| verdict.outcome == outcome);
        of_outcome.count()
    };
    let parts = [
        (Outcome::Balanced, "are balanced"),
        (Outcome::Refused, "are refused"),
        (Outcome::Unchanged, "pass unchanged"),
    ];
    let parts = parts.map(|(outcome, word)| (outcome, number(outcome), word));
    let words = parts.iter().filter(|(_, number, _)| *number > 0);
    let words: Vec<String> = words
        .map(|(_, number, word)| format!("to {number} {word}"))
        .collect();
    let outcome = [Outcome::Refused, Outcome::Balanced, Outcome::Unchanged];
    let outcome = outcome.into_iter().find(|outcome| number(*outcome) > 0)?;
    Some(Verdict {
        outcome,
        message: format!("It depends on the frontend: connects {}.", words.join(", ")),
    })
}

/// The backend that the client's sockets keep, and for how many seconds without another connection.
fn kept(clients: &[ExplainedClient], backends: &[&Backend]) -> Option<(SocketAddr, u32)> {
    let client = clients.iter().find(|client| client.of == "sockets")?;
    let kept = client.backend.as_deref()?;
    let backend = backends.iter().find(|of| of.address.to_string() == kept)?;
    Some((backend.address, client.seconds_left))
}

/// Whether the client is the host; none: unknown.
fn is_host(facts: &Facts<'_>, request: &ExplainRequest) -> Option<bool> {
    let host = facts.tables.map(|tables| tables.host_network());
    if let (Some(host), Some(network)) = (host, request.network) {
        return Some(host == network);
    }
    let from = request.from?;
    let node_ports = facts.node_ports?;
    Some(from.is_loopback() || node_ports.addresses.contains(&from))
}
