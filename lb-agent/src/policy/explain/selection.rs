//! The endpoints of a service port: those that each view has, and why it does not have the others.

use super::super::endpoints::{self, EndpointCandidate, Endpoints};
use super::super::explainer::Explainer;
use super::super::left_out::LeftOut;
use super::super::service;
use super::super::service_port::{ServicePort, ServicePortKey};
use super::super::topology::Rule;
use super::super::view::Scope;
use super::step::Step;
use crate::catalog::{Endpoint, EndpointSlice, ObjectName};

/// How the backends of a view were selected.
#[derive(Clone, Debug)]
pub struct Selection<'a> {
    /// Never [`Scope::All`].
    pub scope: Scope,
    /// The traffic policy is Local.
    pub is_local: bool,
    pub steps: Vec<Step>,
    /// All endpoints of the Service's slices, in their order.
    pub endpoints: Vec<ExplainedEndpoint<'a>>,
}

/// An endpoint of a slice, at the port.
#[derive(Clone, Debug)]
pub struct ExplainedEndpoint<'a> {
    /// The slice's name.
    pub slice: &'a str,
    pub endpoint: &'a Endpoint,
    /// In host order; none: its slice does not have the port.
    pub port: Option<u16>,
    /// None: it is a backend of the view.
    pub left_out: Option<LeftOut>,
    /// It is a backend only because connections spill over.
    pub is_spilled_to: bool,
}

impl Selection<'_> {
    /// The number of backends.
    #[must_use]
    pub fn chosen(&self) -> usize {
        let chosen = self.endpoints.iter();
        chosen.filter(|of| of.left_out.is_none()).count()
    }
}

/// An endpoint, and why the service port cannot use it in any view.
struct Gathered<'a> {
    slice: &'a str,
    endpoint: &'a Endpoint,
    candidate: Result<EndpointCandidate<'a>, LeftOut>,
}

impl<'a> Explainer<'a> {
    /// How the backends of a service port were selected: for ClusterIPs, for its other frontends, and for packets from outside
    /// if they get other backends.
    #[must_use]
    pub fn selections(&self, port: &ServicePort) -> Vec<Selection<'a>> {
        let Self {
            context, catalog, ..
        } = *self;
        let key = &port.key;
        let name = ObjectName {
            namespace: key.namespace.clone(),
            name: key.name.clone(),
        };
        let Some(service) = catalog.service(&name) else {
            return Vec::new();
        };
        let location = context.location();
        let local = service::shared_fields(&context, service).local;
        let slices = catalog.slices(&name);
        let merged = Endpoints::merge(slices.clone(), &[key.family], &mut Vec::new());
        let candidates = merged.of(key.family, &key.port, key.protocol);
        let gathered: Vec<Gathered<'a>> = slices
            .flat_map(|slice| gather(slice, key, &candidates))
            .collect();
        let scopes = [
            (Scope::Internal, local.internal),
            (Scope::External, false),
            (Scope::Outside, true),
        ];
        let scopes = scopes
            .into_iter()
            .filter(|(scope, _)| *scope != Scope::Outside || local.external);
        let selections = scopes.map(|(scope, is_local)| {
            let rule = match is_local {
                true => Rule::of_local(location, &candidates),
                false => Rule::of_cluster(location, &candidates),
            };
            let spill_over = port.spill_over.as_deref().filter(|_| !is_local);
            let endpoints = gathered.iter().map(|of| {
                let mut left_out = match &of.candidate {
                    Ok(candidate) => duplicate(candidate, &candidates, &gathered)
                        .or_else(|| rule.leaves_out(location, candidate)),
                    Err(why) => Some(why.clone()),
                };
                let address = of.candidate.as_ref().ok().map(|c| c.address);
                let is_passed_over = matches!(
                    left_out,
                    Some(LeftOut::OtherNodesHint | LeftOut::OtherZonesHint)
                );
                let is_spilled_to = is_passed_over
                    && spill_over.is_some()
                    && address.is_some_and(|address| port.spills_to(address));
                left_out = left_out.filter(|_| !is_spilled_to);
                ExplainedEndpoint {
                    slice: of.slice,
                    endpoint: of.endpoint,
                    port: address.map(|address| address.port()),
                    left_out,
                    is_spilled_to,
                }
            });
            let mut steps = Step::of(rule, location, &candidates);
            let selected = steps.last().map_or(0, Step::left);
            steps.extend(spill_over.map(|of| Step::of_spill_over(of, selected)));
            Selection {
                scope,
                is_local,
                steps,
                endpoints: endpoints.collect(),
            }
        });
        selections.collect()
    }
}

/// The endpoints of one slice, as if it were the only one.
fn gather<'a>(
    slice: &'a EndpointSlice,
    key: &ServicePortKey,
    all: &[EndpointCandidate<'a>],
) -> Vec<Gathered<'a>> {
    let of = |endpoint, candidate| Gathered {
        slice: &slice.metadata.name,
        endpoint,
        candidate,
    };
    let skip = endpoints::family_of(slice, &[key.family]).err();
    if let Some(skip) = skip {
        let endpoints = slice.endpoints.iter();
        return endpoints
            .map(|endpoint| of(endpoint, Err(LeftOut::Slice(skip.clone()))))
            .collect();
    }
    let own = Endpoints::merge(std::iter::once(slice), &[key.family], &mut Vec::new());
    let own = own.of(key.family, &key.port, key.protocol);
    let mut gathered = Vec::new();
    for endpoint in &slice.endpoints {
        let before = gathered.len();
        let at = own.iter().filter(|candidate| candidate.is_of(endpoint));
        gathered.extend(at.map(|candidate| of(endpoint, Ok(*candidate))));
        if gathered.len() == before {
            let why = match endpoints::address_of(key.family, endpoint) {
                Err(error) => LeftOut::Address(error),
                Ok(ip) if all.iter().any(|c| c.address.ip() == ip) && !own.is_empty() => {
                    LeftOut::Duplicate {
                        slice: slice.metadata.name.to_string(),
                    }
                }
                Ok(_) => LeftOut::OtherPort,
            };
            gathered.push(of(endpoint, Err(why)));
        }
    }
    gathered
}

/// Another slice's endpoint has the same address, and counts.
fn duplicate(
    candidate: &EndpointCandidate<'_>,
    all: &[EndpointCandidate<'_>],
    gathered: &[Gathered<'_>],
) -> Option<LeftOut> {
    let counts = all.iter().find(|c| c.address == candidate.address)?;
    if std::ptr::eq(counts.hints, candidate.hints) {
        return None;
    }
    let slice = gathered.iter().find(|of| counts.is_of(of.endpoint))?.slice;
    Some(LeftOut::Duplicate {
        slice: slice.to_owned(),
    })
}
