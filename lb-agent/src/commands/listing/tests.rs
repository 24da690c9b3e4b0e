//! What is printed, once and as objects change.

use serde::Serialize;

use super::super::output::ListOutput;
use super::changes::{Changes, EventType};
use super::printer::Printer;
use super::{Column, Listed};

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Pod {
    name: &'static str,
    node_name: &'static str,
    restarts: u32,
}

impl Listed for Pod {
    const KIND: &'static str = "pods";

    const COLUMNS: &'static [Column<Self>] = &[
        Column::new("NAME", |pod| pod.name.to_owned()),
        Column::new("RESTARTS", |pod| pod.restarts.to_string()),
        Column::wide("NODE", |pod| pod.node_name.to_owned()),
    ];

    type Key = &'static str;

    fn key(&self) -> Self::Key {
        self.name
    }
}

const fn pod(name: &'static str, restarts: u32) -> Pod {
    Pod {
        name,
        node_name: "no",
        restarts,
    }
}

const PODS: [Pod; 2] = [pod("web", 0), pod("a-longer-name", 3)];

fn list(output: ListOutput, pods: &[Pod]) -> String {
    let mut text = Vec::new();
    let mut printer = Printer::new(output, false);
    printer.print_list(&mut text, pods).expect("written");
    String::from_utf8(text).expect("UTF-8")
}

/// What `--watch` prints of these answers.
fn watch(output: ListOutput, has_events: bool, answers: &[&[Pod]]) -> String {
    let mut text = Vec::new();
    let mut printer = Printer::new(output, has_events);
    let mut changes = Changes::default();
    for answer in answers {
        let changes = changes.since_last(answer.to_vec());
        printer.print_changes(&mut text, &changes).expect("written");
    }
    String::from_utf8(text).expect("UTF-8")
}

#[test]
fn a_table_has_more_columns_if_it_is_wide() {
    assert_eq!(
        list(ListOutput::Table, &PODS),
        "NAME            RESTARTS\n\
         web             0\n\
         a-longer-name   3\n"
    );
    assert_eq!(
        list(ListOutput::Wide, &PODS[..1]),
        "NAME   RESTARTS   NODE\n\
         web    0          no\n"
    );
    assert_eq!(list(ListOutput::Table, &[]), "");
}

#[test]
fn json_and_yaml_are_one_list() {
    let json: serde_json::Value =
        serde_json::from_str(&list(ListOutput::Json, &PODS)).expect("JSON");
    assert_eq!(json, serde_json::to_value(&PODS).expect("a value"));
    let yaml = list(ListOutput::Yaml, &PODS);
    assert!(
        yaml.contains("nodeName: \"no\"") || yaml.contains("nodeName: 'no'"),
        "{yaml}"
    );
    let yaml: serde_json::Value = serde_saphyr::from_str(&yaml).expect("YAML");
    assert_eq!(yaml, json);
    for output in [ListOutput::Json, ListOutput::Yaml] {
        assert_eq!(list(output, &[]), "[]\n");
    }
}

#[test]
fn changes_are_told_by_key() {
    let mut changes = Changes::default();
    let mut names = |answer: &[Pod]| {
        let changes = changes.since_last(answer.to_vec()).into_iter();
        changes
            .map(|(event, pod)| (event, pod.name, pod.restarts))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        names(&PODS),
        [
            (EventType::Added, "web", 0),
            (EventType::Added, "a-longer-name", 3)
        ]
    );
    assert_eq!(names(&PODS), []);
    assert_eq!(
        names(&[pod("web", 1), pod("db", 0)]),
        [
            (EventType::Modified, "web", 1),
            (EventType::Added, "db", 0),
            (EventType::Deleted, "a-longer-name", 3),
        ]
    );
}

#[test]
fn a_watch_prints_changed_objects_only() {
    let answers: &[&[Pod]] = &[&PODS, &PODS, &[pod("web", 1), pod("the-longest-name", 0)]];
    assert_eq!(
        watch(ListOutput::Table, false, answers),
        "NAME            RESTARTS\n\
         web             0\n\
         a-longer-name   3\n\
         web                1\n\
         the-longest-name   0\n\
         a-longer-name      3\n"
    );
    assert_eq!(
        watch(ListOutput::Table, true, &answers[..1]),
        "EVENT   NAME            RESTARTS\n\
         ADDED   web             0\n\
         ADDED   a-longer-name   3\n"
    );
}

#[test]
fn each_document_of_a_watch_is_a_line_of_json_or_a_document_of_yaml() {
    let answers: &[&[Pod]] = &[&PODS[..1], &[]];
    let json = watch(ListOutput::Json, true, answers);
    assert_eq!(
        json,
        "{\"type\":\"ADDED\",\"object\":{\"name\":\"web\",\"nodeName\":\"no\",\"restarts\":0}}\n\
         {\"type\":\"DELETED\",\"object\":{\"name\":\"web\",\"nodeName\":\"no\",\"restarts\":0}}\n"
    );
    let json = watch(ListOutput::Json, false, answers);
    assert_eq!(json.lines().count(), 2);
    assert!(!json.contains("type"), "{json}");
    let yaml = watch(ListOutput::Yaml, false, answers);
    let documents: Vec<_> = yaml.split("---\n").collect();
    assert_eq!(documents.len(), 2, "{yaml}");
    assert_eq!(documents[0], documents[1]);
}
