//! Cases of connections: the result of each while the objects exist.

use std::net::SocketAddr;

use crate::case::{Case, Client, Flow, Word};
use crate::objects;
use crate::tally::{Difference, LeftOut, Tally};
use crate::world::{Met, World, name_of};

/// Connects as each of the flows does. `cases` are all cases of the file.
pub fn check(cases: &[Case], case: &Case, tally: &mut Tally) -> Result<(), String> {
    let mut world = World::new(case)?;
    world.set(&case.objects)?;
    for flow in &case.flows {
        if flow.masquerade || case.masquerade_all {
            tally.leave_out(LeftOut::Masquerade);
        }
        if let Some(what) = left_out(case, &world, flow) {
            tally.leave_out(what);
            continue;
        }
        let expected = meant(cases, case, &world, flow, tally)
            .map_err(|error| format!("{}: {error}", flow.name))?;
        let client = on_the_node(flow.client);
        if client != flow.client {
            tally.differ(Difference::AskedFromTheNode);
        }
        let (_, found) = world.connect(client, flow.dest_ip, flow.dest_port, &flow.protocol);
        tally.compare(|| describe(flow), &expected, &found);
    }
    Ok(())
}

fn left_out(case: &Case, world: &World, flow: &Flow) -> Option<LeftOut> {
    let is_off_node = flow.client == Client::External;
    if flow.protocol == "SCTP" {
        Some(LeftOut::Sctp)
    } else if flow.endpoints == ["ACCEPT"] {
        Some(LeftOut::HealthCheckNodePort)
    } else if is_off_node
        && (is_external_local(case, world, flow) || objects::is_filtered(case, flow.dest_ip))
    {
        Some(LeftOut::OffNodeClient)
    } else {
        None
    }
}

/// The expected result of a flow: the recorded one, except for named differences.
fn meant(
    cases: &[Case],
    case: &Case,
    world: &World,
    flow: &Flow,
    tally: &mut Tally,
) -> Result<Met, String> {
    if objects::is_filtered(case, flow.dest_ip) {
        tally.differ(Difference::LeftToThePacketPath);
        return Ok(Met::Untouched);
    }
    if case.id.contains("no LocalTrafficDetector") && is_external_local(case, world, flow) {
        tally.differ(Difference::PodsAreKnown);
        return as_in_another(cases, case, |other, same| {
            !other.id.contains("no LocalTrafficDetector")
                && (same.client, same.dest_ip, same.dest_port)
                    == (flow.client, flow.dest_ip, flow.dest_port)
        });
    }
    let is_cluster_ip = objects::is_cluster_ip(case, flow.dest_ip);
    match flow.verdict {
        Word::Endpoints => recorded(flow),
        Word::Reject => Ok(Met::Refused),
        Word::Drop if is_cluster_ip => {
            tally.differ(Difference::RefusedWithoutLocalEndpoints);
            Ok(Met::Refused)
        }
        Word::Drop if flow.dest_ip.to_string().starts_with("172.30.") => {
            tally.differ(Difference::RefusedUnallocated);
            Ok(Met::Refused)
        }
        Word::Drop => Err("it is not known what the drop is for".to_owned()),
        Word::Pass if is_cluster_ip => {
            tally.differ(Difference::RefusedUnknownPort);
            Ok(Met::Refused)
        }
        Word::Pass if flow.dest_ip.is_loopback() && flow.client == Client::Node => {
            tally.differ(Difference::NodePortOnLoopback);
            as_in_another(cases, case, |_, same| {
                same.client == Client::Node
                    && same.dest_port == flow.dest_port
                    && !same.dest_ip.is_loopback()
            })
        }
        Word::Pass => Ok(Met::Untouched),
    }
}

/// The recorded result of an equal flow in another case with the same objects.
fn as_in_another(
    cases: &[Case],
    case: &Case,
    is_like_it: impl Fn(&Case, &Flow) -> bool,
) -> Result<Met, String> {
    let others = cases.iter().filter(|other| {
        other.id != case.id && other.objects == case.objects && other.node.name == case.node.name
    });
    let mut flows = others.flat_map(|other| other.flows.iter().map(move |flow| (other, flow)));
    let found = flows.find(|(other, flow)| is_like_it(other, flow));
    let (_, flow) = found.ok_or("no other case says what is meant")?;
    recorded(flow)
}

fn recorded(flow: &Flow) -> Result<Met, String> {
    let endpoints = flow.endpoints.iter().map(|text| {
        text.parse::<SocketAddr>()
            .map_err(|_| format!("{text:?} is not an endpoint"))
    });
    Ok(Met::of(endpoints.collect::<Result<Vec<_>, _>>()?))
}

/// Whether the destination is a frontend of a Service with `externalTrafficPolicy: Local` to which this policy applies.
fn is_external_local(case: &Case, world: &World, flow: &Flow) -> bool {
    let client = on_the_node(flow.client);
    let (port, _) = world.connect(client, flow.dest_ip, flow.dest_port, &flow.protocol);
    port.is_some_and(|port| {
        let spec = objects::spec(case, &name_of(port));
        spec["externalTrafficPolicy"] == "Local" && !objects::is_cluster_ip(case, flow.dest_ip)
    })
}

/// A pod represents a client elsewhere.
fn on_the_node(client: Client) -> Client {
    match client {
        Client::External => Client::Pod,
        other => other,
    }
}

fn describe(flow: &Flow) -> String {
    let (source, address) = (flow.source_ip, flow.dest_ip);
    format!(
        "{}: {:?} {source} to {address} port {} {}",
        flow.name, flow.client, flow.dest_port, flow.protocol
    )
}
