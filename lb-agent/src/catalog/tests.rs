//! Objects arrive: which Services a change touches, and which objects stay.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use serde_json::json;

use super::*;

fn service(name: &str) -> Object {
    let value = json!({"metadata": {"name": name, "namespace": "x"}, "spec": {}});
    Object::Service(Arc::new(serde_json::from_value(value).expect("a Service")))
}

fn slice(name: &str, of: &str) -> Object {
    let value = json!({"metadata": {
        "name": name, "namespace": "x", "labels": {"kubernetes.io/service-name": of}
    }});
    Object::EndpointSlice(Arc::new(serde_json::from_value(value).expect("a slice")))
}

fn node(zone: &str) -> Object {
    let value = json!({"metadata": {
        "name": "me", "labels": {"topology.kubernetes.io/zone": zone}
    }});
    Object::Node(Arc::new(serde_json::from_value(value).expect("a Node")))
}

fn names(names: &[&str]) -> HashSet<ObjectName> {
    let names = names.iter();
    names.map(|name| ObjectName::new("x", name)).collect()
}

fn touched(catalog: &mut Catalog) -> BTreeSet<String> {
    let touched = catalog.take_touched().into_iter();
    touched.map(|name| name.name.to_string()).collect()
}

fn catalog(objects: impl IntoIterator<Item = Object>) -> Catalog {
    let mut catalog = Catalog::new("me");
    for object in objects {
        catalog.apply(Change::Set(object));
    }
    catalog.take_touched();
    catalog
}

#[test]
fn a_list_removes_absent_objects_and_touches_nothing_else() {
    let mut catalog = catalog([
        service("a"),
        service("b"),
        slice("a-1", "a"),
        slice("a-2", "a"),
        slice("b-1", "b"),
    ]);
    catalog.apply(Change::Set(service("a")));
    catalog.apply(Change::Only(Kind::Service, names(&["a"])));
    assert_eq!(touched(&mut catalog), BTreeSet::from(["b".to_owned()]));
    assert_eq!(catalog.counts(), (1, 3));

    catalog.apply(Change::Only(Kind::EndpointSlice, names(&["a-2", "b-1"])));
    assert_eq!(touched(&mut catalog), BTreeSet::from(["a".to_owned()]));
    assert_eq!(catalog.counts(), (1, 2));
}

#[test]
fn a_list_without_the_own_node_clears_the_zone() {
    let mut catalog = catalog([service("a"), node("west")]);
    let own = ObjectId::new(Kind::Node, ObjectName::new("", "me")).name;
    catalog.apply(Change::Only(Kind::Node, HashSet::from([own])));
    assert_eq!(catalog.zone(), Some("west"));
    assert_eq!(touched(&mut catalog), BTreeSet::new());
    catalog.apply(Change::Only(Kind::Node, HashSet::new()));
    assert_eq!(catalog.zone(), None);
    assert_eq!(touched(&mut catalog), BTreeSet::from(["a".to_owned()]));
}

#[test]
fn the_own_node_stays_as_last_read_until_it_is_removed() {
    let node = |text: &str| -> Node { serde_json::from_str(text).expect("a Node") };
    let leaving = r#"{"metadata": {"name": "me", "deletionTimestamp": "2026-01-31T12:00:00Z"},
        "spec": {"podCIDR": "10.1.0.0/24", "taints": [{"key": "a", "effect": "NoSchedule"}, {"key": "b"}]}}"#;
    let leaving = node(leaving);
    assert!(leaving.metadata.is_being_deleted);
    let keys: Vec<&str> = leaving
        .spec
        .taints
        .iter()
        .map(|taint| &*taint.key)
        .collect();
    assert_eq!(keys, ["a", "b"]);
    for staying in [
        r#"{"metadata": {"name": "me"}}"#,
        r#"{"metadata": {"name": "me", "deletionTimestamp": null}, "spec": {"taints": null}}"#,
        r#"{"metadata": {"name": "me"}, "spec": null}"#,
    ] {
        let staying = node(staying);
        assert!(!staying.metadata.is_being_deleted && staying.spec.taints.is_empty());
    }

    let mut catalog = Catalog::new("me");
    assert!(!catalog.has_own_node() && catalog.own_node().is_none());
    catalog.apply(Change::Set(Object::Node(Arc::new(leaving.clone()))));
    let id = ObjectId::new(Kind::Node, ObjectName::new("", "me"));
    catalog.apply(Change::Unread(id.clone()));
    assert_eq!(catalog.own_node(), Some(&leaving));
    catalog.apply(Change::Remove(id.clone()));
    assert!(!catalog.has_own_node() && catalog.own_node().is_none());
    // It exists, but nothing is known of it.
    catalog.apply(Change::Unread(id));
    assert!(catalog.has_own_node() && catalog.own_node().is_none());
}

#[test]
fn an_unreadable_service_keeps_its_last_state() {
    let mut catalog = catalog([service("a")]);
    let id = |name| ObjectId::new(Kind::Service, ObjectName::new("x", name));
    catalog.apply(Change::Unread(id("a")));
    catalog.apply(Change::Unread(id("b")));
    assert_eq!(touched(&mut catalog), BTreeSet::from(["b".to_owned()]));
    assert!(catalog.service(&id("a").name).is_some());
    assert!(catalog.is_unread(&id("b").name) && !catalog.is_unread(&id("a").name));
    catalog.apply(Change::Only(Kind::Service, names(&["a"])));
    assert!(!catalog.is_unread(&id("b").name));
}

/// A slice of the Service `a`, changed for this reason.
fn caused(name: &str, kind: &str, address: &str, at: &str) -> Change {
    let value = json!({
        "metadata": {
            "name": name,
            "namespace": "x",
            "labels": {"kubernetes.io/service-name": "a"},
            "annotations": {"endpoints.kubernetes.io/last-change-trigger-time": at},
        },
        "addressType": kind,
        "endpoints": [{"addresses": [address]}],
    });
    let slice = serde_json::from_value(value).expect("a slice");
    Change::Set(Object::EndpointSlice(Arc::new(slice)))
}

#[test]
fn triggers_are_those_of_changes_since_the_start() {
    let time = |text: &str| text.parse::<Timestamp>().expect("a time");
    let mut catalog = catalog([]);
    catalog.apply(caused("a-0", "IPv4", "10.0.0.1", "2026-01-01T00:00:02Z"));
    assert_eq!(catalog.take_triggers(), [], "nobody asked");

    catalog.collect_triggers(time("2026-01-01T00:00:01Z"));
    for (name, kind, address, at) in [
        ("a-1", "IPv4", "10.0.0.1", "2026-01-01T00:00:01Z"),
        ("a-2", "IPv4", "10.0.0.1", "yesterday"),
        ("a-3", "FQDN", "host", "2026-01-01T00:00:02Z"),
        // Its contents are the same.
        ("a-0", "IPv4", "10.0.0.1", "2026-01-01T00:00:03Z"),
    ] {
        catalog.apply(caused(name, kind, address, at));
        assert_eq!(catalog.take_triggers(), [], "{name}");
    }
    catalog.apply(caused("a-0", "IPv4", "10.0.0.2", "2026-01-01T00:00:04.5Z"));
    catalog.apply(caused("a-6", "IPv6", "fd00::1", "2026-01-01T00:00:05Z"));
    let trigger = |family, at| Trigger {
        family,
        at: time(at),
    };
    assert_eq!(
        catalog.take_triggers(),
        [
            trigger(Family::Ipv4, "2026-01-01T00:00:04.5Z"),
            trigger(Family::Ipv6, "2026-01-01T00:00:05Z"),
        ]
    );
    assert_eq!(catalog.take_triggers(), []);

    // A removal says nothing about when it was caused.
    catalog.apply(caused("a-6", "IPv6", "fd00::2", "2026-01-01T00:00:06Z"));
    catalog.apply(Change::Only(Kind::EndpointSlice, names(&["a-0"])));
    assert_eq!(catalog.take_triggers(), []);
}
