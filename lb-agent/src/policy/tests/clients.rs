//! Selectors, and which pods are served.

use serde_json::{Value, json};

use crate::catalog::{LabelMap, Namespace, Pod};
use crate::policy::{ClientSelection, NotServed, Selector, annotation_problems};

fn selector(text: &str) -> Selector {
    text.parse()
        .unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn labels(labels: Value) -> LabelMap {
    serde_json::from_value(labels).expect("labels")
}

#[test]
fn selectors_match_as_kubectls_do() {
    let web = labels(json!({"app": "web", "example.com/tier": "front", "empty": "", "null": null}));
    for (text, wanted) in [
        ("", true),
        (" ", true),
        ("app", true),
        ("!app", false),
        ("! other", true),
        ("app=web", true),
        ("app == web , example.com/tier=front", true),
        ("app=web,example.com/tier=back", false),
        ("app!=web", false),
        ("other!=web", true),
        ("app in (db, web)", true),
        ("app in(db,web)", true),
        ("app in (db)", false),
        ("other in (db)", false),
        ("app notin (db)", true),
        ("app notin (db,web)", false),
        ("other notin (db)", true),
        ("empty=", true),
        ("empty in (,x)", true),
        ("null=,empty", true),
        ("app=", false),
        ("in", false),
        ("notin,app", false),
    ] {
        assert_eq!(selector(text).matches(&web), wanted, "{text}");
    }
}

#[test]
fn invalid_selectors_are_refused() {
    for text in [
        ",",
        "app,",
        "app web",
        "=web",
        "!",
        "app=we b",
        "app in web",
        "app in (web",
        "app in (web db)",
        "app>1",
        "app=-web",
        "-app",
        "Example.com/app",
        "a/b/c",
        "/app",
        "app=x!y",
        &format!("app={}", "x".repeat(64)),
    ] {
        let error = text.parse::<Selector>().expect_err(text);
        assert!(error.contains("write"), "{text}: {error}");
    }
}

#[test]
fn a_selectors_text_is_read_as_the_same_selector() {
    for text in ["", "app=web", "a!=b,c,!d", "e in (g,f),h notin (i)"] {
        let one = selector(text);
        assert_eq!(selector(&one.to_string()), one, "{text}");
    }
}

fn everybody() -> ClientSelection {
    ClientSelection {
        pods: None,
        namespaces: None,
        except_pods: None,
        except_namespaces: None,
        includes_host: true,
    }
}

fn pod(labels: Value, annotations: Value) -> Pod {
    let pod = json!({"metadata": {"name": "web", "labels": labels, "annotations": annotations}});
    serde_json::from_value(pod).expect("a pod")
}

fn namespace(labels: Value) -> Namespace {
    let namespace = json!({"metadata": {"name": "default", "labels": labels}});
    serde_json::from_value(namespace).expect("a namespace")
}

#[test]
fn each_selector_leaves_out_what_it_should() {
    let some = |text| Some(selector(text));
    let web = pod(json!({"app": "web"}), json!({}));
    let meshed = namespace(json!({"mesh": "on"}));
    let of = |selection: ClientSelection| selection.why_not(&web, Some(&meshed));
    let without = everybody;
    for (selection, wanted) in [
        (without(), None),
        (
            ClientSelection {
                pods: some("app=web"),
                ..without()
            },
            None,
        ),
        (
            ClientSelection {
                pods: some("app=db"),
                ..without()
            },
            Some(NotServed::Pods),
        ),
        (
            ClientSelection {
                except_pods: some("app=web"),
                ..without()
            },
            Some(NotServed::ExceptPods),
        ),
        (
            ClientSelection {
                except_pods: some("app=db"),
                ..without()
            },
            None,
        ),
        (
            ClientSelection {
                namespaces: some("mesh"),
                ..without()
            },
            None,
        ),
        (
            ClientSelection {
                namespaces: some("!mesh"),
                ..without()
            },
            Some(NotServed::Namespaces),
        ),
        (
            ClientSelection {
                except_namespaces: some("mesh=on"),
                ..without()
            },
            Some(NotServed::ExceptNamespaces),
        ),
        (
            ClientSelection {
                except_namespaces: some("mesh=off"),
                ..without()
            },
            None,
        ),
        (
            ClientSelection {
                pods: some("app"),
                except_namespaces: some("mesh"),
                ..without()
            },
            Some(NotServed::ExceptNamespaces),
        ),
    ] {
        assert_eq!(of(selection.clone()), wanted, "{selection}");
        let unknown = selection.why_not(&web, None);
        let needs = selection.needs_namespaces();
        assert_eq!(
            unknown == Some(NotServed::UnknownNamespace),
            needs,
            "{selection}"
        );
    }
    assert_eq!(everybody().why_not_host(), None);
    let no_host = ClientSelection {
        includes_host: false,
        ..everybody()
    };
    assert_eq!(no_host.why_not_host(), Some(NotServed::Host));
}

#[test]
fn an_annotation_leaves_a_pod_out_and_selects_none() {
    let of = |value: &str| {
        let pod = pod(json!({}), json!({"socklb.dev/sockets": value}));
        (
            everybody().why_not(&pod, None),
            annotation_problems(&pod)
                .into_iter()
                .next()
                .map(|of| of.object),
        )
    };
    assert_eq!(of("false"), (Some(NotServed::Annotation), None));
    assert_eq!(of("true"), (None, None));
    let problem = Some("Pod default/web".to_owned());
    for wrong in ["False", "no", ""] {
        assert_eq!(of(wrong), (None, problem.clone()), "{wrong}");
    }
    let selected = ClientSelection {
        pods: Some(selector("app=web")),
        ..everybody()
    };
    let pod = pod(json!({}), json!({"socklb.dev/sockets": "true"}));
    assert_eq!(selected.why_not(&pod, None), Some(NotServed::Pods));
}

#[test]
fn an_annotation_without_a_meaning_on_a_pod_is_a_problem() {
    let annotations = json!({
        "socklb.dev/socket": "false", "socklb.dev/drain": "30s", "socklb.dev/sockets": "no", "example.com/socket": "false",
        "kubernetes.io/config.mirror": "1",
    });
    let pod = pod(json!({}), annotations);
    assert_eq!(everybody().why_not(&pod, None), None);
    let problems = annotation_problems(&pod);
    let names: Vec<&str> = problems
        .iter()
        .filter_map(|of| of.message.split_whitespace().nth(1))
        .collect();
    assert_eq!(
        names,
        [
            "socklb.dev/sockets",
            "socklb.dev/drain",
            "socklb.dev/socket"
        ]
    );
    assert!(problems.iter().all(|of| of.object == "Pod default/web"));
}

#[test]
fn other_selections_have_other_fingerprints() {
    let some = |text| Some(selector(text));
    let all = [
        everybody(),
        ClientSelection {
            includes_host: false,
            ..everybody()
        },
        ClientSelection {
            pods: some(""),
            ..everybody()
        },
        ClientSelection {
            pods: some("a"),
            ..everybody()
        },
        ClientSelection {
            except_pods: some("a"),
            ..everybody()
        },
        ClientSelection {
            namespaces: some("a"),
            ..everybody()
        },
        ClientSelection {
            except_namespaces: some("a"),
            ..everybody()
        },
    ];
    let mut fingerprints: Vec<u64> = all.iter().map(ClientSelection::fingerprint).collect();
    fingerprints.push(0);
    fingerprints.sort_unstable();
    fingerprints.dedup();
    assert_eq!(fingerprints.len(), all.len() + 1);
    // The next release finds the one that this one has written.
    assert_eq!(everybody().to_string(), "--host true");
}
