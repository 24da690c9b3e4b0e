//! The effect of objects: catalog and policy turn them into service ports, and this checks the result.

use std::collections::HashSet;

use lb_agent::catalog::{Catalog, Change, Problem};
use lb_agent::policy::{NodePorts, Options, Policy, RefuseUnknown, ServicePort};

#[derive(Debug)]
pub(crate) struct Effect {
    catalog: Catalog,
    policy: Policy,
}

impl Effect {
    pub(crate) fn new() -> Self {
        Self {
            catalog: Catalog::new("node-a"),
            policy: Policy::new(options()),
        }
    }

    pub(crate) fn take(&mut self, changes: Vec<Change>) {
        for change in changes {
            self.catalog.apply(change);
        }
    }

    /// Evaluates the touched Services, and checks the result.
    ///
    /// # Panics
    /// If the result differs from that of all objects at once, or is not valid for the tables.
    pub(crate) fn settle(&mut self) {
        let touched = self.catalog.take_touched();
        self.policy.update(&self.catalog, touched);
        let ports: Vec<&ServicePort> = self.policy.service_ports().collect();

        let mut anew = Policy::new(options());
        let all = self.catalog.services();
        let all: Vec<_> = all.map(|service| service.metadata.object_name()).collect();
        anew.update(&self.catalog, all);
        assert_eq!(ports, anew.service_ports().collect::<Vec<_>>());

        let mut taken = HashSet::new();
        for port in ports {
            check_port(port);
            for frontend in &port.frontends {
                let site = (
                    port.key.family,
                    port.key.protocol,
                    frontend.address,
                    frontend.port,
                );
                assert!(taken.insert(site), "two have {frontend:?}");
            }
        }
        check_problems(self.policy.problems());
    }
}

/// Everything that a policy can be given.
fn options() -> Options {
    Options {
        node_name: "node-a".to_owned(),
        refuse_unknown: RefuseUnknown::InServiceCidrs,
        ..Options::default()
    }
}

fn check_port(port: &ServicePort) {
    assert!(port.frontends.is_sorted_by(|a, b| a < b), "{port:?}");
    assert!(
        port.backends.is_sorted_by(|a, b| a.address < b.address),
        "{port:?}"
    );
    assert!(
        port.backends
            .iter()
            .all(|b| b.weight > 0 || !(b.internal || b.external || b.outside)),
        "{port:?}"
    );
    let of_views: usize = port.views().iter().map(|view| view.frontends.len()).sum();
    assert_eq!(of_views, port.frontends.len(), "{port:?}");
    let node_ports = NodePorts {
        addresses: vec![[10, 0, 0, 1].into()],
        range: (30_000, 32_767),
        allowed: Vec::new(),
        primary: None,
    };
    let expanded = node_ports.expand(port.clone());
    assert!(
        expanded
            .frontends
            .iter()
            .all(|frontend| frontend.address.is_some())
    );
}

/// Each is one line, whatever the objects contain.
pub(crate) fn check_problems<'a>(problems: impl IntoIterator<Item = &'a Problem>) {
    for problem in problems {
        let line = problem.to_string();
        assert!(!line.contains(char::is_control), "{line:?}");
    }
}
