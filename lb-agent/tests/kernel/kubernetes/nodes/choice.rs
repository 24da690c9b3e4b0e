//! Choices that depend on the node: Local policies, zones and hints.

use lb_testbed::sandboxed;
use serde_json::json;

use super::Nodes;

#[test]
fn internal_traffic_policy_local_uses_the_nodes_own_endpoints() {
    sandboxed(|sandbox| {
        let nodes = Nodes::start(sandbox, 3)?;
        nodes.apply_on(&[0, 1])?;
        for node in 0..3 {
            nodes.wait_for(node, &[0, 1])?;
        }
        nodes.apply_service(&[("internalTrafficPolicy", json!("Local"))])?;
        nodes.wait_for(0, &[0])?;
        nodes.wait_for(1, &[1])?;
        nodes.wait_for(2, &[])?;
        // The third node gets a pod, the second one's is terminating, and the first has one that is not ready.
        nodes.apply([
            nodes.endpoint(0).not_ready(),
            nodes.endpoint(1).conditions(false, true, true),
            nodes.endpoint(2),
        ])?;
        nodes.wait_for(0, &[])?;
        nodes.wait_for(1, &[1])?;
        nodes.wait_for(2, &[2])?;
        nodes.apply_service(&[("internalTrafficPolicy", json!("Cluster"))])?;
        for node in 0..3 {
            nodes.wait_for(node, &[2])?;
        }
        Ok(())
    });
}

#[test]
fn a_zone_change_affects_only_its_node() {
    sandboxed(|sandbox| {
        let nodes = Nodes::start(sandbox, 3)?;
        for (node, zone) in [(0, "west"), (1, "east"), (2, "east")] {
            nodes.apply_node(node, zone)?;
        }
        let hinted = |on: usize, zone: &str| {
            let hints = json!({"forZones": [{"name": zone}]});
            nodes.endpoint(on).zone(zone).field("hints", hints)
        };
        nodes.apply([hinted(0, "west"), hinted(1, "east"), hinted(2, "east")])?;
        let wait_for = |chosen: [&[usize]; 3]| {
            let mut chosen = chosen.iter().enumerate();
            chosen.try_for_each(|(node, chosen)| nodes.wait_for(node, chosen))
        };
        wait_for([&[0], &[1, 2], &[1, 2]])?;
        nodes.apply_node(1, "west")?;
        nodes.wait_for(1, &[0])?;
        wait_for([&[0], &[0], &[1, 2]])?;
        // No endpoint has a hint for that zone.
        nodes.apply_node(2, "north")?;
        nodes.wait_for(2, &[0, 1, 2])?;
        wait_for([&[0], &[0], &[0, 1, 2]])
    });
}

#[test]
fn node_hints_affect_only_their_node() {
    sandboxed(|sandbox| {
        let nodes = Nodes::start(sandbox, 3)?;
        let hinted = |on: usize, to: usize| {
            let hints = json!({"forNodes": [{"name": nodes.name(to)}]});
            nodes.endpoint(on).field("hints", hints)
        };
        // The hint sends one node to another's pod: the hint counts, not the pod's node.
        nodes.apply([hinted(0, 0), hinted(1, 2)])?;
        nodes.wait_for(0, &[0])?;
        nodes.wait_for(1, &[0, 1])?;
        nodes.wait_for(2, &[1])?;
        // One endpoint has no hint, so no hint counts.
        nodes.apply([hinted(0, 0), nodes.endpoint(1)])?;
        for node in 0..3 {
            nodes.wait_for(node, &[0, 1])?;
        }
        Ok(())
    });
}
