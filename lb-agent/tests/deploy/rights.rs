//! The objects that the agent may read.

use std::collections::BTreeSet;

use crate::rendered::{Objects, kustomize};
use crate::{pod_spec, words};

/// The kinds that the agent lists and watches, according to its code.
const WATCHED: &str = include_str!("../../src/source/kubernetes/decode.rs");

/// What the agent's ClusterRole allows: `VERB RESOURCE.GROUP`.
fn allowed(objects: &Objects) -> BTreeSet<String> {
    let mut may = BTreeSet::new();
    let role = objects.get("ClusterRole", "socklb");
    for rule in role["rules"].as_array().expect("rules") {
        for group in words(&rule["apiGroups"]) {
            for resource in words(&rule["resources"]) {
                for verb in words(&rule["verbs"]) {
                    may.insert(format!("{verb} {resource}.{group}"));
                }
            }
        }
    }
    may
}

#[test]
fn the_cluster_role_allows_listed_kinds_and_nothing_else() {
    let base = kustomize("base");
    let constants = |name: &str| -> Vec<&str> {
        let start = format!("const {name}: &'static str = \"");
        let lines = WATCHED.lines().map(str::trim);
        let values = lines.filter_map(|line| line.strip_prefix(&start)?.strip_suffix("\";"));
        values.collect()
    };
    let (groups, plurals) = (constants("GROUP"), constants("PLURAL"));
    assert!(groups.len() == plurals.len() && plurals.contains(&"services"));
    let needed: BTreeSet<String> = groups
        .iter()
        .zip(plurals)
        .flat_map(|(group, plural)| {
            ["list", "watch"].map(|verb| format!("{verb} {plural}.{group}"))
        })
        .collect();
    let is_of_selection =
        |right: &&String| right.ends_with(" pods.") || right.ends_with(" namespaces.");
    let others = needed.iter().filter(|right| !is_of_selection(right));
    assert_eq!(allowed(&base), others.cloned().collect());
    assert_eq!(allowed(&kustomize("labelled-namespaces")), needed);
    let binding = base.get("ClusterRoleBinding", "socklb");
    assert_eq!(binding["roleRef"]["name"], "socklb");
    assert_eq!(binding["subjects"][0]["namespace"], "socklb-system");
    assert_eq!(pod_spec(&base)["serviceAccountName"], "socklb");
}
