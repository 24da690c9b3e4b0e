//! `loadBalancerSourceRanges`: which clients reach a LoadBalancer IP.

use anyhow::{Context as _, Result};
use lb_testbed::{Family, Outside, Pod, sandboxed};
use serde_json::json;

use super::outcome::Outcome::{self, Answered, Dropped};
use super::outcome::{expect, wait_for};
use super::scene::{FAMILIES, Kind, PROTOCOLS, SERVICE_NETWORKS, Scene, Service};

/// Expects it of one kind of frontend, over both protocols.
///
/// `link`: of the client, or the one whose address a pod asks.
fn expect_of(
    link: &Outside,
    service: &Service,
    client: &Pod,
    (kind, family): (Kind, Family),
    wanted: Outcome,
) -> Result<()> {
    let to = service.at(kind, family, link.node_address(family));
    PROTOCOLS.into_iter().try_for_each(|protocol| {
        expect(client, to, protocol, wanted).with_context(|| format!("{} {kind:?}", service.name))
    })
}

fn with_ranges(service: &Service, ranges: &[&str]) -> Service {
    service
        .clone()
        .with("loadBalancerSourceRanges", json!(ranges))
}

#[test]
fn ranges_admit_their_clients_to_the_load_balancer_ip_only() {
    sandboxed(|sandbox| {
        let mut scene = Scene::new(sandbox)?;
        let pods = scene.pods(1)?;
        let inside = scene.outside.machine().clone();
        let other = scene.node.outside("other")?;
        other.route_via_node(SERVICE_NETWORKS)?;
        let pod = scene.node.pod_without_hooks("vm")?;
        let pod_with_hooks = scene.node.pod("client")?;
        let subnets = FAMILIES.map(|family| scene.outside.subnet(family));
        let service = Service::new("both", 10);
        let both = with_ranges(&service, &[&subnets[0], &subnets[1]]);
        let ipv4 = with_ranges(&Service::new("ipv4", 20), &[&subnets[0]]);
        let of_pods = with_ranges(
            &Service::new("pods", 30),
            &["10.244.0.0/16", "fd00:244::/48"],
        );
        for service in [&both, &ipv4, &of_pods] {
            scene.write(service, &[(&pods[0], "node-a")])?;
        }
        let _running = scene.start()?;
        for family in FAMILIES {
            let load_balancer = (Kind::LoadBalancer, family);
            for (service, client, wanted) in [
                (&both, &inside, Answered),
                (&both, other.machine(), Dropped),
                (&both, &pod, Dropped),
                (&both, &pod_with_hooks, Dropped),
                (&of_pods, &inside, Dropped),
                (&of_pods, &pod, Answered),
                (&of_pods, &pod_with_hooks, Answered),
            ] {
                expect_of(&other, service, client, load_balancer, wanted)?;
            }
            // Ranges of one family leave the other open.
            let wanted = match family {
                Family::IPv4 => Dropped,
                Family::IPv6 => Answered,
            };
            expect_of(&other, &ipv4, &inside, load_balancer, Answered)?;
            for client in [other.machine(), &pod] {
                expect_of(&other, &ipv4, client, load_balancer, wanted)?;
            }
            for kind in [Kind::NodePort, Kind::ExternalIp, Kind::ClusterIp] {
                for client in [other.machine(), &pod] {
                    expect_of(&other, &both, client, (kind, family), Answered)?;
                }
            }
        }
        Ok(())
    });
}

#[test]
fn changed_ranges_hold_for_new_connections() {
    sandboxed(|sandbox| {
        let mut scene = Scene::new(sandbox)?;
        let pods = scene.pods(1)?;
        let first = scene.outside.machine().clone();
        let second = scene.node.outside("second")?;
        second.route_via_node(SERVICE_NETWORKS)?;
        let service = Service::new("web", 10);
        let of_first = FAMILIES.map(|family| scene.outside.subnet(family));
        let of_second = FAMILIES.map(|family| second.subnet(family));
        let write = |ranges: &[&str]| {
            let service = match ranges {
                [] => service.clone(),
                ranges => with_ranges(&service, ranges),
            };
            scene.write(&service, &[(&pods[0], "node-a")])
        };
        let wait = |of_first, of_second| {
            for family in FAMILIES {
                let to = service.at(
                    Kind::LoadBalancer,
                    family,
                    scene.outside.node_address(family),
                );
                for protocol in PROTOCOLS {
                    wait_for(&first, to, protocol, of_first)?;
                    wait_for(second.machine(), to, protocol, of_second)?;
                }
            }
            anyhow::Ok(())
        };
        write(&[])?;
        let _running = scene.start()?;
        wait(Answered, Answered)?;
        write(&[&of_first[0], &of_first[1]])?;
        wait(Answered, Dropped)?;
        write(&[&of_second[0], &of_second[1]])?;
        wait(Dropped, Answered)?;
        write(&[&of_first[0], &of_first[1], &of_second[0], &of_second[1]])?;
        wait(Answered, Answered)?;
        // The smallest ranges: of single addresses.
        let only = [
            format!("{}/32", first.ipv4()),
            format!("{}/128", first.ipv6()),
        ];
        write(&[&only[0], &only[1]])?;
        wait(Answered, Dropped)?;
        write(&[])?;
        wait(Answered, Answered)
    });
}
