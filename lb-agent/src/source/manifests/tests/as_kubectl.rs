//! Files that kubectl accepts are served, and mistakes that kubectl ignores are reported.

use std::collections::BTreeMap;
use std::path::Path;

use super::super::parse::{self, Parsed};
use super::{lines, parsed, service};
use crate::catalog::Object;
use crate::source::ClientKinds;

fn parse(text: &str) -> Parsed {
    parse::text(
        Path::new("web.yaml"),
        text,
        ClientKinds::default(),
        &BTreeMap::new(),
    )
}

/// The file name does not matter: kubectl decides by the start of the text.
#[test]
fn json_and_yaml_are_read_from_any_file() {
    let json = |name: &str| {
        format!(r#"{{"apiVersion": "v1", "kind": "Service", "metadata": {{"name": "{name}"}}}}"#)
    };
    let (a, b) = (json("a"), json("b"));
    let texts = [
        service("a") + "---\n" + &service("b"),
        format!("{a}\n---\n{}", service("b")),
        format!("{}---\n{b}\n", service("a")),
        format!("{a}\n---\n{b}\n"),
        format!("{a}{b}"),
        format!("{a}\n\u{feff}{b}"),
        format!("# a comment\n{a}\n--- # another\n{b}"),
        format!("{a}\n# a comment\n---\n{b}"),
        // Text that is not JSON may be YAML.
        format!("{},}}\n---\n{b}", a.trim_end_matches('}').to_owned() + "}"),
        format!("{{apiVersion: v1, kind: Service, metadata: {{name: a}}}}\n---\n{b}"),
    ];
    for text in texts {
        for name in ["f.yaml", "f.json"] {
            let (objects, problems) = parsed(name, &text);
            assert_eq!(
                objects,
                ["Service default/a", "Service default/b"],
                "{text}"
            );
            assert_eq!(problems, [""; 0], "{text}");
        }
    }
}

#[test]
fn byte_order_marks_are_accepted_before_any_document_and_line() {
    let (a, b) = (service("a"), service("b"));
    let texts = [
        format!("{a}---\n\u{feff}{b}"),
        format!("{a}\u{feff}---\n{b}"),
        format!("{a}---\n# c\n\u{feff}# d\n\u{feff}{b}"),
        format!("{a}\u{feff}status: {{}}\n---\u{a0}\n{b}"),
    ];
    for text in texts {
        let (objects, problems) = parsed("f.yaml", &text);
        assert_eq!(
            objects,
            ["Service default/a", "Service default/b"],
            "{text:?}"
        );
        assert_eq!(problems, [""; 0], "{text:?}");
    }
}

/// kubectl silently reads only the first.
#[test]
fn text_after_a_document_without_separator_is_reported() {
    let json = r#"{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "b"}}"#;
    let texts = [
        service("a") + "...\n" + &service("b"),
        service("a").replace('\n', "\r") + "---\r" + &service("b"),
        format!("---\n{}\n{json}", json.replace(r#""b""#, r#""a""#)),
    ];
    for text in texts {
        let parsed = parse(&text);
        let objects: Vec<_> = parsed.objects.keys().map(ToString::to_string).collect();
        assert_eq!(objects, ["Service default/a"], "{text}");
        assert!(parsed.is_broken, "{text}");
        let problems = lines(&parsed.problems);
        assert_eq!(problems.len(), 1, "{problems:#?}");
        assert!(
            problems[0].contains("the document ends before this"),
            "{problems:#?}"
        );
    }
}

#[test]
fn a_repeated_key_is_reported_and_its_object_kept() {
    let twice = service("web").replace(
        "  name: web\n",
        "  name: old\n  name: web\n  labels: {app: a, app.kubernetes.io/name: a, app.kubernetes.io/name: b}\n",
    );
    let item = "- {apiVersion: v1, kind: Service, metadata: {name: NAME}, spec: {clusterIP: a, clusterIP: 10.96.0.1}}\n";
    let list = ["a", "b"].map(|name| item.replace("NAME", name)).concat();
    let cases = [
        (
            twice,
            vec!["Service default/web"],
            vec![
                "Service default/web: metadata.labels.app.kubernetes.io/name and 1 more: the key occurs more than once",
            ],
        ),
        (
            format!("apiVersion: v1\nkind: List\nkind: List\nitems:\n{list}"),
            vec!["Service default/a", "Service default/b"],
            vec![
                "web.yaml: kind: the key occurs more than once",
                "Service default/a: spec.clusterIP: the key occurs more than once",
                "Service default/b: spec.clusterIP: the key occurs more than once",
            ],
        ),
        // Objects of kinds that are not read cause no problem.
        (
            "apiVersion: apps/v1\nkind: Deployment\nkind: Deployment\n".to_owned(),
            vec![],
            vec![],
        ),
    ];
    for (text, objects, expected) in cases {
        let parsed = parse(&text);
        assert!(!parsed.is_broken);
        let found: Vec<_> = parsed.objects.keys().map(ToString::to_string).collect();
        assert_eq!(found, objects);
        let problems = lines(&parsed.problems);
        assert_eq!(problems.len(), expected.len(), "{problems:#?}");
        for (problem, expected) in problems.iter().zip(expected) {
            assert!(problem.starts_with(expected), "{problem}");
        }
    }
}

#[test]
fn the_last_of_two_objects_with_one_name_counts() {
    let other = service("web").replace("10.96.0.1", "10.96.0.2");
    let broken = service("web").replace("80", "http");
    let texts = [
        (service("web") + "---\n" + &other, "10.96.0.2"),
        (other + "---\n" + &service("web"), "10.96.0.1"),
        // An unreadable object counts as if an API server had refused it.
        (service("web") + "---\n" + &broken, "10.96.0.1"),
        (broken + "---\n" + &service("web"), "10.96.0.1"),
    ];
    for (text, cluster_ip) in texts {
        let parsed = parse(&text);
        let mut objects = parsed.objects.into_values();
        let (Some(Object::Service(service)), None) = (objects.next(), objects.next()) else {
            panic!("one Service");
        };
        assert_eq!(service.spec.cluster_ip.as_deref(), Some(cluster_ip));
        assert_eq!(lines(&parsed.problems).len(), 1);
    }
}

#[test]
fn ports_are_parsed_as_the_api_server_does() {
    let port = |scalar: &str| {
        let text = service("web").replace("port: 80", &format!("port: {scalar}"));
        let parsed = parse(&text);
        match parsed.objects.into_values().next() {
            Some(Object::Service(service)) => service.spec.ports[0].port,
            _ => None,
        }
    };
    for eighty in [
        "80",
        "0120",
        "080",
        "0o120",
        "0x50",
        "0b1010000",
        "+80",
        "8_0",
        "80.0",
        "8e1",
    ] {
        assert_eq!(port(eighty), Some(80), "{eighty}");
    }
    for refused in [
        "'80'",
        "\"0120\"",
        "80.5",
        "1:20",
        "on",
        "1e400",
        "99999999999",
    ] {
        assert_eq!(port(refused), None, "{refused}");
    }
}

/// An API server refuses labels and annotations that are not strings; null is an empty one.
#[test]
fn labels_that_are_not_strings_are_reported() {
    let with = |metadata: &str| {
        let text = service("web").replace("  name: web\n", &format!("  name: web\n  {metadata}\n"));
        parse(&text)
    };
    // If the wrong value decides nothing here, the object is still served.
    let parsed = with("labels: {version: 1.10, on: off, app: 'a', empty: }");
    assert_eq!(parsed.objects.len(), 1);
    assert!(!parsed.is_broken);
    let problems = lines(&parsed.problems);
    assert_eq!(problems.len(), 1, "{problems:#?}");
    let expected = "Service default/web: metadata.labels.true and 1 more: not a string";
    assert!(problems[0].starts_with(expected), "{problems:#?}");

    let parsed = with("annotations: {socklb.dev/ignore: true}");
    assert_eq!(parsed.objects.len(), 0);
    let problems = lines(&parsed.problems);
    let expected = "Service default/web: metadata.annotations.socklb.dev/ignore: invalid type: boolean `true`, expected a string: write it in quotes";
    assert!(problems[0].starts_with(expected), "{problems:#?}");

    let parsed = with("labels: {service.kubernetes.io/headless: null}");
    let Some(Object::Service(service)) = parsed.objects.into_values().next() else {
        panic!("a Service");
    };
    assert_eq!(service.metadata.labels.headless.as_deref(), Some(""));
}
