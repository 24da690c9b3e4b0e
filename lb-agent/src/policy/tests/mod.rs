//! The rules as cases: manifests as input, a plan and its problems as output, all as text.

mod annotations;
mod claims;
mod clients;
mod endpoints;
mod explain;
mod frontends;
mod health_checks;
mod masquerading;
mod naive;
mod node_ports;
mod objects;
mod packets;
mod random;
mod spill_over;
mod topology;
mod updates;
mod weights;

use std::sync::Arc;

use serde_json::Value;

use self::random::Objects;
use super::{Masquerading, Options, Policy};
use crate::catalog::{Catalog, Change, Object};

const NODE_NAME: &str = "n1";
const OUR_PROXY_NAME: &str = "socklb";

/// The objects in YAML documents.
fn objects(yaml: &str) -> Vec<Object> {
    let documents = yaml.split("---\n").filter(|d| !d.trim().is_empty());
    documents.map(object).collect()
}

fn object(yaml: &str) -> Object {
    typed(serde_saphyr::from_str(yaml).expect("cases are YAML"))
}

fn typed(value: Value) -> Object {
    let typed = match value["kind"].as_str() {
        Some("Service") => serde_json::from_value(value).map(|s| Object::Service(Arc::new(s))),
        Some("EndpointSlice") => {
            serde_json::from_value(value).map(|s| Object::EndpointSlice(Arc::new(s)))
        }
        Some("Node") => serde_json::from_value(value).map(|n| Object::Node(Arc::new(n))),
        _ => panic!("cases have kinds"),
    };
    typed.expect("cases are well-typed")
}

/// The agent's settings that cases vary.
#[derive(Clone, Copy, Debug, Default)]
struct Settings {
    has_packet_path: bool,
    refuses_external_ips: bool,
}

/// A node n1 with the objects of each step of a case.
struct Case {
    catalog: Catalog,
    policy: Policy,
}

impl Case {
    fn new(yaml: &str) -> Self {
        Self::with(Settings::default(), yaml)
    }

    fn with(settings: Settings, yaml: &str) -> Self {
        Self::of_node(NODE_NAME, settings, yaml)
    }

    /// Of another node.
    fn on(node: &str, yaml: &str) -> Self {
        Self::of_node(node, Settings::default(), yaml)
    }

    fn of_node(node: &str, settings: Settings, yaml: &str) -> Self {
        let mut case = Self {
            catalog: Catalog::new(node),
            policy: Policy::new(Options {
                node_name: node.to_owned(),
                service_proxy_name: Some(OUR_PROXY_NAME.to_owned()),
                packets: settings.has_packet_path.then(Masquerading::default),
                refuses_external_ips: settings.refuses_external_ips,
                ..Options::default()
            }),
        };
        case.set(yaml);
        case
    }

    fn of(settings: Settings, objects: &Objects) -> Self {
        let mut case = Self::with(settings, "");
        for object in objects.values() {
            case.catalog.apply(Change::Set(typed(object.clone())));
        }
        case.update();
        case
    }

    /// Returns the changes: `+` for a service port that is new or different, `-` for a removed one.
    fn set(&mut self, yaml: &str) -> Vec<String> {
        for object in objects(yaml) {
            self.catalog.apply(Change::Set(object));
        }
        self.update()
    }

    fn remove(&mut self, yaml: &str) -> Vec<String> {
        for object in objects(yaml) {
            self.catalog.apply(Change::Remove(object.id()));
        }
        self.update()
    }

    fn update(&mut self) -> Vec<String> {
        let touched = self.catalog.take_touched();
        let update = self.policy.update(&self.catalog, touched);
        let changed = update.changed.iter().map(|port| format!("+{}", port.key));
        let removed = update.removed.iter().map(|key| format!("-{key}"));
        changed.chain(removed).collect()
    }

    /// One line for each view: key, scope, frontends with their source ranges, backends; `~` marks backends that do not serve.
    fn plan(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for port in self.policy.service_ports() {
            for view in port.views() {
                let frontends = view.frontends.iter().map(|f| {
                    let address = f.address.map_or_else(|| "*".to_owned(), |a| a.to_string());
                    let ranges = match port.has_source_ranges(f) {
                        true => format!(" from {}", words(&port.source_ranges)),
                        false => String::new(),
                    };
                    format!("{} {address} {}{ranges}", f.kind, f.port)
                });
                let backends = view.backends.iter().map(|b| {
                    let mark = if b.serving { "" } else { "~" };
                    format!("{mark}{}", b.address)
                });
                let frontends: Vec<_> = frontends.collect();
                let backends: Vec<_> = backends.collect();
                lines.push(format!(
                    "{} {} [{}] -> {}",
                    port.key,
                    view.scope,
                    frontends.join(", "),
                    backends.join(" ")
                ));
            }
        }
        lines
    }

    fn problems(&self) -> Vec<String> {
        self.policy.problems().map(ToString::to_string).collect()
    }
}

fn words<T: ToString>(all: &[T]) -> String {
    let words: Vec<String> = all.iter().map(ToString::to_string).collect();
    words.join(" ")
}

/// The plan must equal these lines, without problems.
#[track_caller]
fn check(yaml: &str, plan: &[&str]) {
    let case = Case::new(yaml);
    assert_eq!(case.problems(), [""; 0]);
    assert_eq!(case.plan(), plan);
}

/// The plan must equal these lines, and each problem must contain its text.
#[track_caller]
fn check_problems(yaml: &str, plan: &[&str], problems: &[&str]) {
    check_case(&Case::new(yaml), plan, problems);
}

#[track_caller]
fn check_case(case: &Case, plan: &[&str], problems: &[&str]) {
    assert_eq!(case.plan(), plan);
    let said = case.problems();
    assert_eq!(said.len(), problems.len(), "{said:#?}");
    for (said, expected) in said.iter().zip(problems) {
        assert!(said.contains(expected), "{said}\nmissing: {expected}");
        assert!(!said.contains('\n'), "{said}");
    }
}

/// A Service with more lines of `spec` (each indented by two, ending with a new line).
fn service(name: &str, spec: &str) -> String {
    format!(
        "---\nkind: Service\nmetadata: {{name: {name}}}\nspec:\n  clusterIP: 10.96.0.1\n  ports: [{{port: 80}}]\n{spec}"
    )
}

/// A slice of the Service web with port 8080, and endpoints as YAML flow mappings.
fn slice(name: &str, endpoints: &[&str]) -> String {
    format!(
        "---\nkind: EndpointSlice\nmetadata: {{name: {name}, labels: {{kubernetes.io/service-name: web}}}}\n\
         addressType: IPv4\nports: [{{port: 8080}}]\nendpoints: [{}]\n",
        endpoints.join(", ")
    )
}

const NODE: &str =
    "---\nkind: Node\nmetadata: {name: n1, labels: {topology.kubernetes.io/zone: z1}}\n";
