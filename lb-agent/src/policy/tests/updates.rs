//! An update says what differs and nothing else, and any order of changes ends in the same plan.

use proptest::prelude::*;

use super::{Case, NODE, service, slice};

#[test]
fn only_real_changes_are_listed() {
    let web = service("web", "") + &slice("a", &["{addresses: [10.1.0.1]}"]);
    let mut case =
        Case::new(&(web.clone() + &service("other", "").replace("10.96.0.1", "10.96.0.2")));
    assert_eq!(case.set(&web), [""; 0]);
    // Not a field that is used.
    assert_eq!(
        case.set(&service("web", "  selector: {app: web}\n")),
        [""; 0]
    );
    // An endpoint that is not used.
    let one_more = [
        "{addresses: [10.1.0.1]}",
        "{addresses: [10.1.0.2], conditions: {ready: false, serving: false}}",
    ];
    assert_eq!(case.set(&slice("a", &one_more)), [""; 0]);
    assert_eq!(
        case.set(&slice("b", &["{addresses: [10.1.0.3]}"])),
        ["+default/web/TCP (IPv4)"]
    );
    assert_eq!(case.remove(&slice("b", &[])), ["+default/web/TCP (IPv4)"]);
    assert_eq!(
        case.remove(&service("web", "")),
        ["-default/web/TCP (IPv4)"]
    );
    // The slices stayed.
    case.set(&service("web", ""));
    assert_eq!(
        case.plan()[1],
        "default/web/TCP (IPv4) all [ClusterIP 10.96.0.1 80] -> 10.1.0.1:8080"
    );
}

#[test]
fn a_slice_that_changes_its_service_leaves_the_old_one() {
    let a = slice("a", &["{addresses: [10.1.0.1]}"]);
    let other = service("other", "").replace("10.96.0.1", "10.96.0.2");
    let mut case = Case::new(&(service("web", "") + &other + &a));
    case.set(&a.replace("service-name: web", "service-name: other"));
    assert_eq!(
        case.plan(),
        [
            "default/other/TCP (IPv4) all [ClusterIP 10.96.0.2 80] -> 10.1.0.1:8080",
            "default/web/TCP (IPv4) all [ClusterIP 10.96.0.1 80] -> ",
        ]
    );
}

/// A few objects that get in each other's way, each in a few forms.
fn pool() -> Vec<Vec<String>> {
    let ready = "{addresses: [10.1.0.1], nodeName: n1, hints: {forZones: [{name: z1}]}}";
    let leaving = "{addresses: [10.1.0.1], conditions: {ready: false, terminating: true}}";
    let other = "{addresses: [10.1.0.2], hints: {forZones: [{name: z2}]}}";
    let external = "  externalIPs: [192.0.2.1]\n";
    vec![
        vec![
            service("web", ""),
            service("web", external),
            service("web", "  internalTrafficPolicy: Local\n"),
        ],
        vec![
            service("a", external),
            service("a", "").replace("10.96.0.1", "10.96.0.2"),
        ],
        vec![service("z", external).replace("port: 80", "port: 80, nodePort: 30080")],
        vec![
            service("v", "")
                .replace("10.96.0.1", "10.96.0.3")
                .replace("port: 80", "port: 80, nodePort: 30080"),
        ],
        vec![
            slice("s", &[ready]),
            slice("s", &[ready, other]),
            slice("s", &[leaving]),
        ],
        vec![
            slice("t", &[other]),
            slice("t", &[ready]).replace("service-name: web", "service-name: a"),
        ],
        vec![NODE.to_owned(), NODE.replace("z1", "z2")],
    ]
}

proptest! {
    #[test]
    fn any_way_to_a_state_gives_its_plan(steps in prop::collection::vec((0..7_usize, 0..4_usize), 1..40)) {
        let pool = pool();
        let mut case = Case::new("");
        let mut shadow = std::collections::BTreeMap::new();
        let mut now = vec![None; pool.len()];
        for (which, form) in steps {
            let forms = &pool[which];
            let form = forms.get(form);
            match form {
                Some(yaml) => super::objects(yaml).into_iter().for_each(|o| case.catalog.apply(super::Change::Set(o))),
                None => super::objects(&forms[0]).into_iter().for_each(|o| case.catalog.apply(super::Change::Remove(o.id()))),
            }
            now[which] = form.cloned();
            let touched = case.catalog.take_touched();
            let update = case.policy.update(&case.catalog, touched);
            for port in update.changed {
                prop_assert_ne!(shadow.get(&port.key), Some(&port));
                shadow.insert(port.key.clone(), port);
            }
            for key in update.removed {
                prop_assert!(shadow.remove(&key).is_some());
            }
        }
        let fresh = Case::new(&now.into_iter().flatten().collect::<String>());
        prop_assert_eq!(case.plan(), fresh.plan());
        let sorted = |case: &Case| { let mut p = case.problems(); p.sort(); p };
        prop_assert_eq!(sorted(&case), sorted(&fresh));
        let ports: Vec<_> = case.policy.service_ports().cloned().collect();
        prop_assert_eq!(shadow.into_values().collect::<Vec<_>>(), ports);
    }
}
