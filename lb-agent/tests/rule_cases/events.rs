//! Cases of events: the service ports and endpoints after them, and the changes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use lb_agent::policy::{Backend, FrontendKind, Scope, ServicePort, Update};

use crate::case::{self, Case, Endpoint, Sets, Verdict, Verdicts, Word};
use crate::objects;
use crate::tally::{Difference, LeftOut, Tally};
use crate::world::{Met, World, met, name_of};

/// Applies the events, then those that follow.
pub fn check(case: &Case, tally: &mut Tally) -> Result<(), String> {
    let mut world = World::new(case)?;
    world.apply(&case.events)?;
    if let Some(ports) = &case.expect_service_ports {
        check_service_ports(case, &world, ports, tally);
    }
    check_state(
        &world,
        case.expect_endpoints.as_ref(),
        case.expect_verdict.as_ref(),
        tally,
    );
    for (name, sets) in case.expect.iter().flatten() {
        let port = known(&world, name)?;
        check_sets(case, port, sets, tally);
    }

    let update = world.apply(&case.then_events)?;
    check_changes(case, &world, &update, tally);
    check_state(
        &world,
        case.expect_endpoints_after.as_ref(),
        case.expect_verdict_after.as_ref(),
        tally,
    );
    Ok(())
}

fn known<'a>(world: &'a World, name: &str) -> Result<&'a ServicePort, String> {
    let port = world.service_port(name);
    port.ok_or_else(|| format!("there is no service port {name}"))
}

fn check_state(
    world: &World,
    endpoints: Option<&BTreeMap<String, Vec<Endpoint>>>,
    verdicts: Option<&BTreeMap<String, Verdicts>>,
    tally: &mut Tally,
) {
    if let Some(endpoints) = endpoints {
        check_endpoints(world, endpoints, tally);
    }
    if let Some(verdicts) = verdicts {
        check_verdicts(world, verdicts, tally);
    }
}

/// All endpoints of all service ports: address, on this node, serving.
fn check_endpoints(world: &World, expected: &BTreeMap<String, Vec<Endpoint>>, tally: &mut Tally) {
    let mut found = BTreeMap::new();
    for port in world.service_ports() {
        let facts = |b: &Backend| (b.address, world.is_local(b), b.serving);
        let backends: BTreeSet<_> = port.backends.iter().map(facts).collect();
        if !backends.is_empty() {
            found.insert(name_of(port), backends);
        }
    }
    let kept = kept(expected);
    for (name, endpoints) in expected {
        if kept.get(name).map_or(0, BTreeSet::len) < endpoints.len() {
            tally.differ(Difference::UselessEndpoint);
        }
    }
    tally.compare(|| "endpoints".to_owned(), &kept, &found);
}

/// The recorded endpoints that are backends here: address, on this node, serving.
fn kept(
    recorded: &BTreeMap<String, Vec<Endpoint>>,
) -> BTreeMap<String, BTreeSet<(SocketAddr, bool, bool)>> {
    let is_kept = |endpoint: &&Endpoint| endpoint.ready || endpoint.serving;
    let kept = recorded.iter().map(|(name, endpoints)| {
        let endpoints = endpoints.iter().filter(is_kept);
        let facts = endpoints.map(|e| (e.endpoint, e.is_local, e.serving));
        (name.clone(), facts.collect::<BTreeSet<_>>())
    });
    kept.filter(|(_, endpoints)| !endpoints.is_empty())
        .collect()
}

/// Whether the recorded states before and after the last events differ in nothing that the tables contain.
fn is_recorded_the_same(case: &Case) -> bool {
    let before = case.expect_endpoints.as_ref().map(kept);
    let after = case.expect_endpoints_after.as_ref().map(kept);
    before.is_some() && before == after && case.expect_verdict == case.expect_verdict_after
}

/// Checks the result of a connect on this node to each service port, and that there are no others.
fn check_verdicts(world: &World, expected: &BTreeMap<String, Verdicts>, tally: &mut Tally) {
    let found: BTreeSet<String> = world.service_ports().map(name_of).collect();
    let names: BTreeSet<String> = expected.keys().cloned().collect();
    tally.compare(|| "service ports".to_owned(), &names, &found);
    for port in world.service_ports() {
        let name = name_of(port);
        let Some(verdicts) = expected.get(&name) else {
            continue;
        };
        let internal = meant(&verdicts.internal, tally);
        let at = |kinds: &[FrontendKind]| {
            let views = port.views();
            let mut views = views.iter();
            let view = views.find(|v| v.frontends.iter().any(|f| kinds.contains(&f.kind)));
            view.map(met)
        };
        let found = at(&[FrontendKind::ClusterIp]);
        tally.compare(|| format!("{name} internal"), &Some(internal), &found);

        let from_node = verdicts.external_from_local.as_ref();
        let found = at(&[
            FrontendKind::NodePort,
            FrontendKind::ExternalIp,
            FrontendKind::LoadBalancer,
        ]);
        let expected = from_node.map(|verdict| meant(verdict, tally));
        tally.compare(|| format!("{name} external"), &expected, &found);
        if verdicts.external.is_some() {
            tally.leave_out(LeftOut::OffNodeClient);
        }
    }
}

fn meant(verdict: &Verdict, tally: &mut Tally) -> Met {
    if verdict.verdict == Word::Drop {
        tally.differ(Difference::RefusedWithoutLocalEndpoints);
    }
    match verdict.verdict {
        Word::Endpoints => Met::of(verdict.endpoints.iter().copied()),
        Word::Reject | Word::Drop => Met::Refused,
        Word::Pass => Met::Untouched,
    }
}

/// Every frontend of every service port.
fn check_service_ports(
    case: &Case,
    world: &World,
    expected: &BTreeMap<String, case::ServicePort>,
    tally: &mut Tally,
) {
    let found: BTreeMap<String, BTreeSet<_>> = world
        .service_ports()
        .map(|port| {
            let frontends = port.frontends.iter();
            let frontends = frontends.map(|f| (f.kind, f.address, f.port));
            (name_of(port), frontends.collect())
        })
        .collect();
    let expected: BTreeMap<String, BTreeSet<_>> = expected
        .iter()
        .map(|(name, port)| (name.clone(), frontends(case, name, port, tally)))
        .collect();
    tally.compare(|| "frontends".to_owned(), &expected, &found);
}

fn frontends(
    case: &Case,
    name: &str,
    port: &case::ServicePort,
    tally: &mut Tally,
) -> BTreeSet<(FrontendKind, Option<IpAddr>, u16)> {
    let mut frontends =
        BTreeSet::from([(FrontendKind::ClusterIp, Some(port.cluster_ip), port.port)]);
    for &address in &port.external_ips {
        frontends.insert((FrontendKind::ExternalIp, Some(address), port.port));
    }
    let ranges = &port.load_balancer_source_ranges;
    let is_filtered = !ranges.is_empty() && !ranges.iter().any(|range| range.ends_with("/0"));
    for &address in &port.load_balancer_vips {
        if port.external_ips.contains(&address) {
            tally.differ(Difference::OneKindForAnAddress);
        } else if is_filtered {
            tally.differ(Difference::LeftToThePacketPath);
        } else {
            frontends.insert((FrontendKind::LoadBalancer, Some(address), port.port));
        }
    }
    if port.health_check_node_port != 0 {
        tally.leave_out(LeftOut::HealthCheckNodePort);
    }
    // Not recorded for the service port, but stated by the Service.
    if let Some(number) = objects::node_port(case, name, &port.protocol) {
        frontends.insert((FrontendKind::NodePort, None, number));
    }
    frontends
}

/// The choices under each traffic policy.
fn check_sets(case: &Case, port: &ServicePort, sets: &Sets, tally: &mut Tally) {
    let name = name_of(port);
    let chosen = |is_chosen: fn(&Backend) -> bool| -> BTreeSet<SocketAddr> {
        let chosen = port.backends.iter().filter(|b| is_chosen(b));
        chosen.map(|b| b.address).collect()
    };
    let set = |addresses: &[SocketAddr]| -> BTreeSet<_> { addresses.iter().copied().collect() };
    let internal = chosen(|b| b.internal);
    let external = chosen(|b| b.external);
    let is_local = objects::spec(case, &name)["internalTrafficPolicy"] == "Local";

    match &sets.cluster {
        Some(cluster) => tally.compare(|| format!("{name} cluster"), &set(cluster), &external),
        None => {
            let is_external = port.views().iter().any(|v| v.scope == Scope::External);
            tally.compare(|| format!("{name} external view"), &false, &is_external);
        }
    }
    match &sets.local {
        Some(local) if is_local => {
            tally.compare(|| format!("{name} local"), &set(local), &internal);
        }
        // Only externalTrafficPolicy is Local: clients on the node get the other set everywhere.
        Some(_) => {
            tally.compare(|| format!("{name} internal"), &external, &internal);
            tally.leave_out(LeftOut::OffNodeClient);
        }
        None => tally.compare(|| format!("{name} internal"), &external, &internal),
    }
    if is_local || sets.local.is_none() {
        let mut reachable = internal;
        if sets.cluster.is_some() {
            reachable.extend(&external);
        }
        tally.compare(
            || format!("{name} reachable"),
            &set(&sets.all_reachable),
            &reachable,
        );
    }
    tally.compare(
        || format!("{name} has any"),
        &sets.has_any_endpoints,
        &!external.is_empty(),
    );
}

/// The changes of the last events, as the update reports them.
fn check_changes(case: &Case, world: &World, update: &Update, tally: &mut Tally) {
    let changed = update.changed.iter().map(|port| &port.key);
    let keys: Vec<_> = changed.chain(&update.removed).collect();
    if let Some(expected) = case.expect_changed {
        tally.compare(|| "changed".to_owned(), &expected, &!keys.is_empty());
    }
    let mut nothing_to_do = false;
    if let Some(expected) = &case.expect_changed_services {
        let services = keys.iter().map(|k| format!("{}/{}", k.namespace, k.name));
        let services: BTreeSet<String> = services.collect();
        let mut expected: BTreeSet<String> = expected.iter().cloned().collect();
        nothing_to_do = !expected.is_empty() && is_recorded_the_same(case);
        if nothing_to_do {
            tally.differ(Difference::NothingToDo);
            expected.clear();
        }
        tally.compare(|| "changed Services".to_owned(), &expected, &services);
    }
    // kube-proxy cleans up when endpoints of UDP ports change. Here flows move under the same condition.
    if let Some(expected) = case.expect_udp_cleanup {
        let expected = expected && !nothing_to_do;
        let is_udp = keys.iter().any(|key| key.protocol.to_string() == "UDP");
        tally.compare(|| "UDP changes".to_owned(), &expected, &is_udp);
    }
    if let Some(expected) = &case.expect_local_ready_endpoints {
        let mut local: BTreeMap<String, BTreeSet<IpAddr>> = BTreeMap::new();
        for port in world.service_ports() {
            let key = &port.key;
            let backends = port.backends.iter();
            for backend in backends.filter(|b| b.external && world.is_local(b)) {
                let of_service = local.entry(format!("{}/{}", key.namespace, key.name));
                of_service.or_default().insert(backend.address.ip());
            }
        }
        let counts = local.into_iter().map(|(name, ips)| (name, ips.len()));
        let counts: BTreeMap<String, usize> = counts.collect();
        tally.compare(|| "local endpoints".to_owned(), expected, &counts);
    }
}
