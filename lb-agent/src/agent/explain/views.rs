//! The views of a service port in an explanation.

use std::net::SocketAddr;

use crate::policy::explain::{ExplainedEndpoint, Selection};
use crate::policy::{Frontend, FrontendKind, Scope, ServicePort};
use crate::serve::{self, ExplainedView, PolicyStep};

/// The views that the frontends use. Two with the same rules are one.
pub(super) fn views(
    port: &ServicePort,
    frontends: &[Frontend],
    selections: &[Selection<'_>],
) -> Vec<ExplainedView> {
    let is_cluster_ip = |of: &Frontend| of.kind == FrontendKind::ClusterIp;
    let internal = frontends.iter().any(is_cluster_ip);
    let external = frontends.iter().any(|of| !is_cluster_ip(of));
    let outside = frontends.iter().any(Frontend::is_reached_from_outside);
    let differ = port.backends.iter().any(|b| b.internal != b.external);
    let has_one_rule = !selections
        .iter()
        .any(|of| of.scope == Scope::Internal && of.is_local);
    let mut views = Vec::new();
    for selection in selections {
        let (is_used, used_by) = match selection.scope {
            Scope::Internal | Scope::All if has_one_rule && external => (internal, "all frontends"),
            Scope::Internal | Scope::All => (internal, "the ClusterIP"),
            Scope::External if has_one_rule && internal => continue,
            Scope::External => (
                external,
                "NodePorts, external IPs and LoadBalancer IPs, from this node",
            ),
            Scope::Outside => (
                outside,
                "packets from outside to NodePorts, external IPs and LoadBalancer IPs",
            ),
        };
        if !is_used {
            continue;
        }
        let scope = match selection.scope {
            Scope::Outside => Scope::Outside,
            _ if !differ => Scope::All,
            scope => scope,
        };
        views.push(view(scope, used_by, selection));
    }
    views
}

fn view(scope: Scope, used_by: &str, selection: &Selection<'_>) -> ExplainedView {
    let steps = selection.steps.iter().map(|step| PolicyStep {
        step: step.word().to_owned(),
        message: step.to_string(),
        left: step.left(),
    });
    ExplainedView {
        scope: scope.to_string(),
        used_by: used_by.to_owned(),
        traffic_policy: match selection.is_local {
            true => "Local",
            false => "Cluster",
        }
        .to_owned(),
        steps: steps.collect(),
        endpoints: selection.endpoints.iter().map(endpoint).collect(),
        backends: selection.chosen(),
    }
}

fn endpoint(of: &ExplainedEndpoint<'_>) -> serve::ExplainedEndpoint {
    let ExplainedEndpoint {
        slice,
        endpoint,
        port,
        left_out,
        is_spilled_to,
    } = of;
    let text = endpoint.address.as_deref().unwrap_or_default();
    let address = match (text.parse(), port) {
        (Ok(ip), Some(port)) => SocketAddr::new(ip, *port).to_string(),
        (Err(_), Some(port)) => format!("{text}:{port}"),
        (_, None) => text.to_owned(),
    };
    let conditions = endpoint.conditions;
    let why = left_out.as_ref().map(|why| (why.word(), why.to_string()));
    let why = why.or_else(|| {
        let message = "chosen, since connections spill over";
        is_spilled_to.then(|| ("SpillOver", message.to_owned()))
    });
    let (reason, message) = why.unzip();
    serve::ExplainedEndpoint {
        slice: (*slice).to_owned(),
        address,
        node: endpoint.node_name.as_deref().map(str::to_owned),
        zone: endpoint.zone.as_deref().map(str::to_owned),
        ready: conditions.is_ready(),
        serving: conditions.is_serving(),
        terminating: conditions.is_terminating(),
        chosen: left_out.is_none(),
        reason: reason.map(str::to_owned),
        message,
    }
}
