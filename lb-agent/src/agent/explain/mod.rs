//! Explains what a connect to a target gets, and why: from the policy's reasons and the tables' contents.

mod asked;
mod clients;
mod contents;
mod facts;
mod frontends;
#[cfg(test)]
mod tests;
mod verdict;
mod views;

use std::fmt;
use std::net::SocketAddr;

use self::asked::Asked;
pub use self::facts::{ExplainedService, Facts};
use self::frontends::{expanded, frontend, skipped_node_ports};
use super::engine::Engine;
use crate::catalog::{ObjectName, Protocol};
use crate::policy::explain::{AtAddress, NoFrontend, SkippedPort};
use crate::policy::{Frontend, ServicePort};
use crate::serve::{
    ExplainRequest, ExplainedFrontend, ExplainedPort, Explanation, Outcome, Skipped, Target,
    Verdict,
};
use crate::tables::Backing;

/// The explanation of a running agent.
///
/// `is_ready`: the contents of the source are in effect. `client`: whether the client is served.
pub fn explain<B: Backing + fmt::Debug>(
    engine: &Engine<B>,
    is_ready: bool,
    client: ExplainedService,
    request: &ExplainRequest,
) -> Explanation {
    explain_from(&Facts::of_agent(engine, is_ready, client), request)
}

/// The explanation from these facts.
#[must_use]
pub fn explain_from(facts: &Facts<'_>, request: &ExplainRequest) -> Explanation {
    let mut explanation = Explanation {
        target: request.target.to_string(),
        node: facts.catalog.node_name().to_owned(),
        zone: facts.catalog.zone().map(str::to_owned),
        notes: facts.notes.clone(),
        service_ports: Vec::new(),
        skipped: Vec::new(),
        problems: Vec::new(),
        verdict: verdict::unchanged(""),
    };
    match &request.target {
        Target::Address { address, protocol } => {
            at_address(facts, request, *address, *protocol, &mut explanation);
        }
        Target::Service {
            namespace,
            name,
            port,
        } => {
            let name = ObjectName::new(namespace, name);
            of_service(facts, request, &name, port.as_deref(), &mut explanation);
        }
    }
    explanation.problems.sort();
    explanation.problems.dedup();
    explanation
}

fn at_address(
    facts: &Facts<'_>,
    request: &ExplainRequest,
    target: SocketAddr,
    protocol: Protocol,
    explanation: &mut Explanation,
) {
    let lookup = verdict::lookup(target);
    let AtAddress { frontend, others } = facts.explainer().at(lookup, protocol, facts.node_ports);
    for other in &others {
        explanation.skipped.push(Skipped {
            object: format!("Service {}", other.service),
            what: format!("{} {lookup}", other.kind),
            reason: other.why.word().to_owned(),
            message: other.why.to_string(),
        });
        explanation.problems.extend(problems(facts, &other.service));
    }
    let Some((port, frontend)) = frontend else {
        explanation.verdict = verdict::of_miss(facts, lookup.ip(), &others);
        let is_refused = explanation.verdict.outcome == Outcome::Refused;
        let is_cluster_ip = !others.is_empty();
        let is_guarded = facts.tables.map(|of| of.is_guarded(lookup.ip()));
        if is_refused && is_cluster_ip && matches!(is_guarded, Some(Ok(false))) {
            let note = "The tables differ: FRONTENDS does not have the guard of this ClusterIP, so the connect passes unchanged.";
            explanation.notes.push(note.to_owned());
        }
        return;
    };
    let explained = explain_port(facts, request, port, &[frontend], explanation);
    if let Some(frontend) = explained.frontends.first() {
        explanation.verdict = frontend.verdict.clone();
    }
    explanation.service_ports.push(explained);
}

fn of_service(
    facts: &Facts<'_>,
    request: &ExplainRequest,
    name: &ObjectName,
    port: Option<&str>,
    explanation: &mut Explanation,
) {
    let object = format!("Service {name}");
    let mut skip = |what: String, reason: &str, message: String| {
        explanation.skipped.push(Skipped {
            object: object.clone(),
            what,
            reason: reason.to_owned(),
            message,
        });
    };
    let is_unread = facts.catalog.is_unread(name);
    if facts.catalog.service(name).is_none() {
        let (reason, message) = match is_unread {
            true => ("Unreadable", "it exists, and cannot be read"),
            false => ("NotFound", "there is no such Service"),
        };
        skip(String::new(), reason, message.to_owned());
        explanation.problems.extend(problems(facts, name));
        explanation.verdict = match is_unread {
            true => verdict::unchanged("the Service cannot be read"),
            false => verdict::unknown("There is no such Service.".to_owned()),
        };
        return;
    }
    let skips = facts.explainer().skips(name);
    if let Some(why) = &skips.service {
        skip(String::new(), why.word(), why.to_string());
        explanation.verdict = verdict::unchanged("the Service is not balanced");
    }
    for of in &skips.addresses {
        let what = format!("{} {}", of.kind, of.address);
        skip(what, of.why.word(), of.why.to_string());
    }
    let is_asked = |of: &SkippedPort| {
        port.is_none_or(|asked| of.name == asked || of.port.is_some_and(|n| n.to_string() == asked))
    };
    for of in skips.ports.iter().filter(|of| is_asked(of)) {
        let what = format!("spec.ports[{}] {:?}", of.index, of.name);
        skip(what, of.why.word(), of.why.to_string());
    }
    let ports = facts.policy.ports_of(name);
    let ports: Vec<&ServicePort> = ports
        .filter(|of| port.is_none_or(|asked| is_named(facts, of, asked)))
        .collect();
    for port in &ports {
        let lost = facts.explainer().claimed_by_others(&port.key);
        for (frontend, holder) in lost {
            let why = NoFrontend::Claimed(holder.clone());
            skip(frontends::what(frontend), why.word(), why.to_string());
        }
        for (what, why) in skipped_node_ports(facts, port) {
            skip(what, why.word(), why.to_string());
        }
    }
    explanation.problems.extend(problems(facts, name));
    for port in &ports {
        let frontends = expanded(facts, port);
        let explained = explain_port(facts, request, port, &frontends, explanation);
        explanation.service_ports.push(explained);
    }
    if let Some(verdict) = verdict::of_all(&explanation.service_ports) {
        explanation.verdict = verdict;
    } else if skips.service.is_none() {
        explanation.verdict = match port {
            Some(port) => verdict::unknown(format!("The Service has no frontend at port {port}.")),
            None => Verdict {
                outcome: Outcome::Unchanged,
                message: "There is nothing to connect to: it has no frontend.".to_owned(),
            },
        };
    }
}

/// Whether a service port has this name, or this number in `spec.ports`.
fn is_named(facts: &Facts<'_>, port: &ServicePort, asked: &str) -> bool {
    if *port.key.port == *asked {
        return true;
    }
    let claimed = facts.explainer().claimed_by_others(&port.key);
    let mut frontends = port.frontends.iter().chain(claimed.map(|(of, _)| of));
    frontends.any(|frontend| frontend.address.is_some() && frontend.port.to_string() == *asked)
}

fn explain_port(
    facts: &Facts<'_>,
    request: &ExplainRequest,
    port: &ServicePort,
    frontends: &[Frontend],
    explanation: &mut Explanation,
) -> ExplainedPort {
    let key = &port.key;
    let name = ObjectName {
        namespace: key.namespace.clone(),
        name: key.name.clone(),
    };
    explanation.problems.extend(problems(facts, &name));
    let refusal = facts.refusal(key);
    explanation
        .problems
        .extend(refusal.iter().map(ToString::to_string));
    let selections = facts.explainer().selections(port);
    let clients = clients::clients(facts, request, port);
    let asked = Asked {
        request,
        port,
        selections: &selections,
        refusal: refusal.as_ref(),
        clients: &clients,
    };
    let explained: Vec<ExplainedFrontend> = frontends
        .iter()
        .map(|of| frontend(facts, &asked, of))
        .collect();
    ExplainedPort {
        namespace: key.namespace.to_string(),
        name: key.name.to_string(),
        port: key.port.to_string(),
        protocol: key.protocol.to_string(),
        family: key.family.to_string(),
        algorithm: port.algorithm.to_string(),
        affinity_seconds: port.affinity_seconds,
        slow_start_seconds: port.slow_start.map(|takes| takes.as_secs()),
        drain_seconds: port.drain.map(|takes| takes.as_secs()),
        outlier_detection: port.backends.iter().any(|backend| backend.watched),
        frontends: explained,
        views: views::views(port, frontends, &selections),
        clients,
    }
}

fn problems(facts: &Facts<'_>, name: &ObjectName) -> Vec<String> {
    let problems = facts.policy.problems_of(name);
    problems.map(ToString::to_string).collect()
}
