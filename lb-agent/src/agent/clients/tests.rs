//! Pods as objects change and namespaces are found.

use std::collections::HashMap;
use std::sync::Arc;

use lb_common::client::{NOT_SERVED, SELECTION, SERVED};
use serde_json::{Value, json};

use super::tracker::{PodCounts, PodTracker};
use crate::catalog::{Change, Kind, Object, ObjectId, ObjectName};
use crate::policy::ClientSelection;

const HOST: u64 = 7;

fn tracker(pods: &str, except_namespaces: Option<&str>) -> PodTracker {
    let parse = |text: &str| text.parse().expect("a selector");
    let selection = ClientSelection {
        pods: Some(parse(pods)),
        namespaces: None,
        except_pods: None,
        except_namespaces: except_namespaces.map(parse),
        includes_host: true,
    };
    PodTracker::new(selection, "node-a", HOST)
}

fn pod(name: &str, labels: Value, spec: Value) -> Change {
    let pod = json!({
        "metadata": {"name": name, "uid": format!("uid-of-{name}"), "labels": labels}, "spec": spec
    });
    Change::Set(Object::Pod(serde_json::from_value(pod).expect("a pod")))
}

fn here() -> Value {
    json!({"nodeName": "node-a"})
}

fn namespace(labels: Value) -> Change {
    let namespace = json!({"metadata": {"name": "default", "labels": labels}});
    let namespace = serde_json::from_value(namespace).expect("a namespace");
    Change::Set(Object::Namespace(namespace))
}

fn learn(tracker: &mut PodTracker, changes: impl IntoIterator<Item = Change>) {
    let mut changes: Vec<Change> = changes.into_iter().collect();
    tracker.learn(&mut changes);
    assert_eq!(changes, []);
    tracker.update();
}

fn find(tracker: &mut PodTracker, found: &[(&str, u64)]) -> bool {
    let found = found
        .iter()
        .map(|(name, cookie)| (format!("uid-of-{name}").into(), *cookie));
    tracker.end_search(&found.collect())
}

/// Without the selection and the host.
fn contents(tracker: &PodTracker) -> Vec<(u64, u64)> {
    let contents = tracker.contents().into_iter();
    let mut contents: Vec<_> = contents
        .filter(|(key, _)| ![SELECTION, HOST].contains(key))
        .collect();
    contents.sort_unstable();
    contents
}

#[test]
fn a_pod_is_served_once_its_namespace_is_found_and_as_long_as_it_is_selected() {
    let mut tracker = tracker("app=web", None);
    learn(
        &mut tracker,
        [
            pod("web", json!({"app": "web"}), here()),
            pod("db", json!({}), here()),
        ],
    );
    assert_eq!(contents(&tracker), []);
    assert_eq!(
        tracker.counts(),
        PodCounts {
            not_served: 1,
            not_found: 1,
            ..PodCounts::default()
        }
    );
    assert!(tracker.has_due());
    let searched = tracker.begin_search();
    assert_eq!(searched, ["uid-of-web", "uid-of-db"].map(Arc::from).into());
    assert!(!tracker.has_due() && tracker.has_missing());

    assert!(find(&mut tracker, &[("web", 11), ("db", 12)]));
    assert!(!find(&mut tracker, &[("web", 11)]));
    assert_eq!(contents(&tracker), [(11, SERVED), (12, NOT_SERVED)]);
    // The labels change places.
    learn(
        &mut tracker,
        [
            pod("db", json!({"app": "web"}), here()),
            pod("web", json!({}), here()),
        ],
    );
    assert_eq!(contents(&tracker), [(11, NOT_SERVED), (12, SERVED)]);
    assert!(
        tracker
            .why_not(11)
            .is_some_and(|why| why.contains("default/web"))
    );
    assert_eq!(tracker.why_not(12), None);
    assert_eq!(tracker.why_not(HOST), None);
    assert!(tracker.why_not(13).is_some());

    // A new sandbox of the pod.
    assert!(find(&mut tracker, &[("db", 13)]));
    assert_eq!(contents(&tracker), [(11, NOT_SERVED), (13, SERVED)]);
    let name = ObjectName::new("default", "db");
    learn(
        &mut tracker,
        [Change::Remove(ObjectId::new(Kind::Pod, name))],
    );
    assert_eq!(contents(&tracker), [(11, NOT_SERVED)]);
}

#[test]
fn the_namespace_of_the_host_is_never_a_pods() {
    let mut tracker = tracker("", None);
    let host = json!({"nodeName": "node-a", "hostNetwork": true});
    learn(
        &mut tracker,
        [pod("web", json!({}), here()), pod("proxy", json!({}), host)],
    );
    assert_eq!(tracker.begin_search(), ["uid-of-web"].map(Arc::from).into());
    assert!(!find(&mut tracker, &[("web", HOST), ("proxy", 12)]));
    assert_eq!(contents(&tracker), []);
    assert_eq!(
        tracker.counts(),
        PodCounts {
            not_found: 1,
            host_network: 1,
            ..PodCounts::default()
        }
    );
}

#[test]
fn a_label_of_the_namespace_changes_all_its_pods() {
    let mut tracker = tracker("", Some("mesh=on"));
    learn(&mut tracker, [pod("web", json!({}), here())]);
    find(&mut tracker, &[("web", 11)]);
    assert_eq!(
        contents(&tracker),
        [(11, NOT_SERVED)],
        "its labels are unknown"
    );
    learn(&mut tracker, [namespace(json!({}))]);
    assert_eq!(contents(&tracker), [(11, SERVED)]);
    learn(&mut tracker, [namespace(json!({"mesh": "on"}))]);
    assert_eq!(contents(&tracker), [(11, NOT_SERVED)]);
}

#[test]
fn pods_that_are_elsewhere_finished_or_replaced_are_forgotten() {
    let mut tracker = tracker("", None);
    learn(
        &mut tracker,
        [
            pod("web", json!({}), here()),
            pod("other", json!({}), json!({"nodeName": "node-b"})),
        ],
    );
    find(&mut tracker, &[("web", 11), ("other", 12)]);
    assert_eq!(contents(&tracker), [(11, SERVED)]);
    // As of a StatefulSet: the name is the same.
    let again = json!({"metadata": {"name": "web", "uid": "another"}, "spec": here()});
    let again = serde_json::from_value(again).expect("a pod");
    learn(&mut tracker, [Change::Set(Object::Pod(again))]);
    assert_eq!(contents(&tracker), []);
    let found = HashMap::from([(Arc::from("another"), 13)]);
    assert!(tracker.end_search(&found));
    let over = json!({
        "metadata": {"name": "web", "uid": "another"}, "spec": here(), "status": {"phase": "Succeeded"}
    });
    let over = serde_json::from_value(over).expect("a pod");
    learn(&mut tracker, [Change::Set(Object::Pod(over))]);
    assert_eq!(tracker.counts(), PodCounts::default());
}
