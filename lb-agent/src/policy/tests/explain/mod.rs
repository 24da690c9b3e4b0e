//! The reasons that an explanation names.

mod address;
mod endpoints;

use std::net::SocketAddr;

use proptest::prelude::*;

use super::naive::settings;
use super::random::objects;
use super::{Case, NODE, Settings, service, slice};
use crate::policy::explain::Selection;
use crate::policy::{Backend, Scope, ServicePort};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]
    #[test]
    fn the_chosen_endpoints_are_those_of_the_view(settings in settings(), objects in objects()) {
        let case = Case::of(settings, &objects);
        for port in case.policy.service_ports() {
            for selection in case.policy.explainer(&case.catalog).selections(port) {
                prop_assert_eq!(chosen(port, &selection), in_view(port, selection.scope));
                let last = selection.steps.last().map(|step| step.left());
                let is_ignored = selection.steps.last().is_some_and(|step| step.word().ends_with("Hints"));
                prop_assert!(is_ignored || last == Some(selection.chosen()));
            }
        }
    }

    #[test]
    fn every_frontend_is_found_by_its_address(settings in settings(), objects in objects()) {
        let case = Case::of(settings, &objects);
        for port in case.policy.service_ports() {
            for frontend in &port.frontends {
                let Some(address) = frontend.address else { continue };
                let at = SocketAddr::new(address, frontend.port);
                let found = case.policy.explainer(&case.catalog).at(at, port.key.protocol, None);
                prop_assert_eq!(found.frontend, Some((port, frontend.clone())));
            }
        }
    }
}

/// The addresses of the chosen endpoints, sorted.
fn chosen(port: &ServicePort, selection: &Selection<'_>) -> Vec<SocketAddr> {
    let chosen = selection
        .endpoints
        .iter()
        .filter(|of| of.left_out.is_none());
    let mut chosen: Vec<SocketAddr> = chosen
        .map(|of| {
            let text = of.endpoint.address.as_deref().expect("it has an address");
            let ip = super::super::address::parse_of(port.key.family, text).expect("an address");
            SocketAddr::new(ip, of.port.expect("it has a port"))
        })
        .collect();
    chosen.sort();
    chosen
}

fn in_view(port: &ServicePort, scope: Scope) -> Vec<SocketAddr> {
    let is_in = |backend: &&Backend| match scope {
        Scope::All | Scope::Internal => backend.internal,
        Scope::External => backend.external,
        Scope::Outside => backend.outside,
    };
    let backends = port.backends.iter().filter(is_in);
    backends.map(|backend| backend.address).collect()
}
