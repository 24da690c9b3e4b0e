//! An update contains exactly the differences, and any order of changes ends in the same plan.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::Value;

use super::random::{Objects, key, object};
use super::{Case, NODE, NODE_NAME, naive, service, slice, typed};
use crate::catalog::{Change, Object, ObjectName};
use crate::policy::{ServicePort, ServicePortKey};

#[test]
fn only_real_changes_are_listed() {
    let web = service("web", "") + &slice("a", &["{addresses: [10.1.0.1]}"]);
    let mut case =
        Case::new(&(web.clone() + &service("other", "").replace("10.96.0.1", "10.96.0.2")));
    assert_eq!(case.set(&web), [""; 0]);
    // A field that is not used.
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
    // The slices remained.
    case.set(&service("web", ""));
    assert_eq!(
        case.plan()[1],
        "default/web/TCP (IPv4) all [ClusterIP 10.96.0.1 80] -> 10.1.0.1:8080"
    );
}

#[test]
fn a_change_touches_only_the_services_it_concerns() {
    let other = service("other", "").replace("10.96.0.1", "10.96.0.2");
    let a = slice("a", &["{addresses: [10.1.0.1]}"]);
    let mut case = Case::new(&(NODE.to_owned() + &service("web", "") + &other + &a));
    let mut touched = |change: Change| {
        case.catalog.apply(change);
        let touched = case.catalog.take_touched();
        let touched = touched.iter().map(ToString::to_string);
        touched.collect::<Vec<_>>().join(" ")
    };
    let set = |yaml: &str| Change::Set(super::object(yaml.trim_start_matches("---\n")));
    // Nothing changed.
    for yaml in [&service("web", ""), &other, &a, NODE] {
        assert_eq!(touched(set(yaml)), "", "{yaml}");
    }
    let cases = [
        (set(&service("web", "  type: NodePort\n")), "default/web"),
        (set(&slice("a", &[])), "default/web"),
        (
            set(&a.replace("service-name: web", "service-name: other")),
            "default/other default/web",
        ),
        (
            set(&a.replace("{name: a,", "{name: a, namespace: shop,")),
            "shop/web",
        ),
        (
            Change::Remove(super::object(a.trim_start_matches("---\n")).id()),
            "default/other",
        ),
        (set(&NODE.replace("n1", "n2")), ""),
        (set(&NODE.replace("z1", "z2")), "default/other default/web"),
    ];
    for (change, names) in cases {
        let said = format!("{change:?}");
        assert_eq!(touched(change), names, "{said}");
    }
}

#[test]
fn a_service_taken_over_by_another_proxy_is_removed_and_returns() {
    let web = service("web", "");
    let mut case = Case::new(&(web.clone() + &slice("a", &["{addresses: [10.1.0.1]}"])));
    let plan = case.plan();
    let labelled = |label: &str| web.replace("{name: web}", &format!("{{name: web, {label}}}"));
    for others in [
        labelled("labels: {service.kubernetes.io/service-proxy-name: ''}"),
        labelled("labels: {service.kubernetes.io/service-proxy-name: other}"),
        labelled("labels: {service.kubernetes.io/headless: 'false'}"),
        labelled("annotations: {socklb.dev/ignore: 'true'}"),
        service("web", "  type: ExternalName\n"),
        web.replace("10.96.0.1", "None"),
    ] {
        assert_eq!(case.set(&others), ["-default/web/TCP (IPv4)"], "{others}");
        assert_eq!(case.plan(), [""; 0]);
        assert_eq!(case.problems(), [""; 0]);
        assert_eq!(case.set(&web), ["+default/web/TCP (IPv4)"]);
        assert_eq!(case.plan(), plan);
    }
}

#[test]
fn a_change_of_one_port_does_not_affect_others() {
    let ports = "[{name: a, port: 80}, {name: b, port: 81}]";
    let web = service("web", "").replace("[{port: 80}]", ports);
    let of = |name: &str, endpoint: &str| {
        let port = format!("{{name: {name}, port: 8080}}");
        slice(name, &[endpoint]).replace("{port: 8080}", &port)
    };
    let mut case = Case::new(
        &(web.clone() + &of("a", "{addresses: [10.1.0.1]}") + &of("b", "{addresses: [10.1.0.1]}")),
    );
    assert_eq!(
        case.set(&of("b", "{addresses: [10.1.0.2]}")),
        ["+default/web:b/TCP (IPv4)"]
    );
    assert_eq!(
        case.set(&web.replace("port: 80}", "port: 8000}")),
        ["+default/web:a/TCP (IPv4)"]
    );
    assert_eq!(
        case.set(&web.replace("name: a", "name: c")),
        ["+default/web:c/TCP (IPv4)", "-default/web:a/TCP (IPv4)"]
    );
}

#[test]
fn a_slice_that_changes_its_service_leaves_the_previous_one() {
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

/// A change that a source may report.
#[derive(Clone, Debug)]
enum Step {
    Set(Value),
    /// Also for an object that does not exist.
    Remove(Value),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![3 => object().prop_map(Step::Set), 1 => object().prop_map(Step::Remove)]
}

/// Applies the step; returns the Services that it concerns.
fn take(step: Step, case: &mut Case, objects: &mut Objects) -> BTreeSet<ObjectName> {
    let object = match &step {
        Step::Set(object) | Step::Remove(object) => typed(object.clone()),
    };
    let (before, now) = match step {
        Step::Set(value) => {
            case.catalog.apply(Change::Set(object));
            (objects.insert(key(&value), value.clone()), Some(value))
        }
        Step::Remove(value) => {
            case.catalog.apply(Change::Remove(object.id()));
            (objects.remove(&key(&value)), None)
        }
    };
    let forms = [before, now];
    if forms[0] == forms[1] {
        return BTreeSet::new();
    }
    let mut concerned = BTreeSet::new();
    for form in forms.into_iter().flatten() {
        match typed(form) {
            Object::Service(service) => {
                concerned.insert(service.metadata.object_name());
            }
            Object::EndpointSlice(slice) => {
                concerned.insert(slice.service());
            }
            Object::Node(node) if *node.metadata.name == *NODE_NAME => {
                let services = objects.values().filter(|o| o["kind"] == "Service");
                concerned.extend(services.map(|o| typed(o.clone()).id().name));
            }
            Object::Node(_) | Object::ServiceCidr(_) | Object::Pod(_) | Object::Namespace(_) => {}
        }
    }
    concerned
}

fn service_ports(case: &Case) -> BTreeMap<ServicePortKey, ServicePort> {
    let ports = case.policy.service_ports();
    ports.map(|port| (port.key.clone(), port.clone())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn the_plan_depends_only_on_the_final_state(settings in naive::settings(), bursts in prop::collection::vec(prop::collection::vec(step(), 1..4), 1..12)) {
        let mut case = Case::with(settings, "");
        let mut objects = Objects::new();
        for burst in bursts {
            let before = service_ports(&case);
            let mut concerned = BTreeSet::new();
            for step in burst {
                concerned.extend(take(step, &mut case, &mut objects));
            }
            let touched = case.catalog.take_touched();
            prop_assert!(touched.is_subset(&concerned), "{touched:?} of {concerned:?}");
            let update = case.policy.update(&case.catalog, touched);

            // The update names exactly the differences.
            let after = service_ports(&case);
            let changed = after.values().filter(|port| before.get(&port.key) != Some(port));
            prop_assert_eq!(update.changed, changed.cloned().collect::<Vec<_>>());
            let removed = before.into_keys().filter(|key| !after.contains_key(key));
            prop_assert_eq!(update.removed, removed.collect::<Vec<_>>());
            prop_assert_eq!(naive::found(&case), naive::frontends(settings, &objects));
        }
        let sorted = |case: &Case| { let mut p = case.problems(); p.sort(); p };
        let fresh = Case::of(settings, &objects);
        prop_assert_eq!(sorted(&case), sorted(&fresh));
        prop_assert_eq!(service_ports(&case), service_ports(&fresh));
    }
}
