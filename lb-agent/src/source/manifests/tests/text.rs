//! Parsing of a file's text.

use std::collections::BTreeMap;
use std::path::Path;

use super::super::parse;
use super::{parsed, service};
use crate::catalog::Object;
use crate::source::ClientKinds;

#[test]
fn documents_and_lists_are_read_and_other_kinds_skipped() {
    let text = format!(
        "%YAML 1.2\n# a comment\n---\n{}---\n\n--- # nothing\napiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web}}\n---\n\
         apiVersion: v1\nkind: List\nitems:\n- apiVersion: discovery.k8s.io/v1\n  kind: EndpointSlice\n  metadata: {{name: a, namespace: shop, creationTimestamp: null}}\n  \
         addressType: IPv4\n  endpoints: null\n  ports: null\n- {{apiVersion: v1, kind: Node, metadata: {{name: n1}}}}\n---\n\
         apiVersion: v1\nkind: ServiceList\nitems: [{{metadata: {{name: db}}, spec: {{}}, status: {{loadBalancer: {{}}}}}}]\n---\n\
         apiVersion: serving.knative.dev/v1\nkind: Service\nmetadata: {{name: fn}}\n---\nreplicas: 3\n...\n",
        service("web")
    );
    let (objects, problems) = parsed("all.yaml", &text);
    assert_eq!(
        objects,
        [
            "Service default/db",
            "Service default/web",
            "EndpointSlice shop/a",
            "Node n1"
        ]
    );
    assert_eq!(problems, [""; 0]);
    assert_eq!(
        parse::text(
            Path::new("all.yaml"),
            &text,
            ClientKinds::default(),
            &BTreeMap::new()
        )
        .skipped,
        3
    );
}

#[test]
fn json_is_read_from_json_and_yaml_files() {
    let web =
        r#"{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": null}"#;
    let two = format!("{web}\n{}", web.replace("web", "db"));
    for name in ["a.json", "a.yaml"] {
        assert_eq!(
            parsed(name, &two).0,
            ["Service default/db", "Service default/web"],
            "{name}"
        );
    }
    let (objects, problems) = parsed("a.json", &format!("{web}\n{{\"kind\": ]}}"));
    assert_eq!(objects, ["Service default/web"]);
    assert_eq!(
        problems,
        ["a.json: line 2, column 10: expected value: correct it"]
    );
    assert_eq!(
        parsed(
            "a.yaml",
            "{apiVersion: v1, kind: Node, metadata: {name: n1}}"
        )
        .0,
        ["Node n1"]
    );
}

#[test]
fn invalid_yaml_is_reported_by_line_and_column_and_other_documents_kept() {
    let text = format!(
        "{}---\nkind: Service\nmetadata:\n  name: [a\nspec: b\n---\n{}",
        service("a"),
        service("b")
    );
    let (objects, problems) = parsed("web.yaml", &text);
    assert_eq!(objects, ["Service default/a", "Service default/b"]);
    assert_eq!(problems.len(), 1, "{problems:#?}");
    assert!(
        problems[0].starts_with("web.yaml: line 10, column"),
        "{problems:#?}"
    );
    assert!(!problems[0].contains('\n'), "{problems:#?}");
}

#[test]
fn a_wrong_type_is_reported_with_object_field_and_file() {
    let text = service("web").replace("port: 80", "port: http");
    assert_eq!(
        parsed("web.yaml", &text).1,
        [
            "Service default/web: spec.ports[0].port: invalid type: string \"http\", expected a whole number; it is skipped (web.yaml, document at line 1)"
        ]
    );
    let text = service("web").replace("[{port: 80}]", "80");
    assert!(
        parsed("web.yaml", &text).1[0]
            .contains("spec.ports: invalid type: integer `80`, expected a sequence")
    );
    let text = service("web").replace("metadata:\n  name: web\n", "metadata: web\n");
    assert!(parsed("web.yaml", &text).1[0].starts_with(
        "Service in web.yaml: metadata: invalid type: string \"web\", expected a mapping"
    ));
}

#[test]
fn a_sequence_is_not_accepted_as_a_mapping() {
    let web = |metadata: &str, spec: &str| {
        format!("{{apiVersion: v1, kind: Service, metadata: {metadata}, spec: {spec}}}")
    };
    let slice = |endpoint: &str| {
        format!(
            "{{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {{name: a}}, endpoints: [{endpoint}]}}"
        )
    };
    let cases = [
        (web("{name: a, labels: [a, b]}", "null"), "metadata.labels"),
        (web("[a, b]", "null"), "metadata"),
        (
            web("{name: a}", "{ports: [[http, TCP, 80]]}"),
            "spec.ports[0]",
        ),
        (web("{name: a}", "[a]"), "spec"),
        (slice("{conditions: [false]}"), "endpoints[0].conditions"),
        (slice("[[10.1.0.1]]"), "endpoints[0]"),
    ];
    for (text, field) in cases {
        let (objects, problems) = parsed("a.yaml", &text);
        assert_eq!(objects, [""; 0]);
        assert_eq!(problems.len(), 1, "{problems:#?}");
        let expected = format!(": {field}: invalid type: sequence, expected a mapping");
        assert!(problems[0].contains(&expected), "{problems:#?}");
    }
}

#[test]
fn an_object_without_namespace_is_in_default() {
    for namespace in ["", ", namespace: null", ", namespace: ''"] {
        let text = service("web").replace("name: web", &format!("{{name: web{namespace}}}"));
        let text = text.replace("metadata:\n  {", "metadata: {");
        assert_eq!(
            parsed("a.yaml", &text),
            (vec!["Service default/web".to_owned()], vec![])
        );
    }
}

#[test]
fn a_document_without_kind_is_reported() {
    let cases = [
        (
            service("web").replace("apiVersion: v1\n", ""),
            "Service default/web: apiVersion is missing: write v1",
        ),
        (
            service("web").replace("kind: Service\n", ""),
            "web.yaml: kind is missing",
        ),
        (
            service("web").replace("  name: web\n", "  labels: {}\n"),
            "Service in web.yaml: metadata: missing field `name`",
        ),
        (
            "apiVersion: discovery.k8s.io/v1beta1\nkind: EndpointSlice\nmetadata: {name: a}\n"
                .to_owned(),
            "EndpointSlice default/a: apiVersion \"discovery.k8s.io/v1beta1\" is not supported: write discovery.k8s.io/v1; it is skipped",
        ),
        (
            service("web").replace("name: web", r#"name: "A b\n\e[31m""#),
            r#"Service default/A b\n\u{1b}[31m: metadata.name "A b\n\u{1b}[31m" is not a valid name"#,
        ),
        (
            service("web").replace("name: web", r#"{name: web, namespace: "a/b"}"#).replace("\n  {", " {"),
            r#"Service a/b/web: metadata.namespace "a/b" is not a valid name"#,
        ),
        (
            service("web").replace("kind: Service", "kind: service"),
            "Service default/web: kind \"service\" is unknown: write Service; it is skipped",
        ),
        (
            service("web").replace("apiVersion: v1", "apiVersion: v2"),
            "Service default/web: apiVersion \"v2\" is not supported: write v1; it is skipped",
        ),
        (
            "apiVersion: v1\nkind: endpointslice\nmetadata: {name: a}\n".to_owned(),
            "EndpointSlice default/a: apiVersion \"v1\" is not supported: write discovery.k8s.io/v1; \
             kind \"endpointslice\" is unknown: write EndpointSlice; it is skipped",
        ),
        (
            "kind: List\nitems: [{metadata: {name: a}}]\n".to_owned(),
            "web.yaml: apiVersion is missing: write v1 (web.yaml, document at line 1)",
        ),
        (
            "apiVersion: v1\nkind: List\nitems: {a: b}\n".to_owned(),
            "web.yaml: items is not a sequence: write one",
        ),
        (
            "apiVersion: v1\nkind: ServiceList\n".to_owned(),
            "web.yaml: items is missing: write the list's objects there",
        ),
        (
            "- apiVersion: v1\n  kind: Service\n  metadata: {name: a}\n".to_owned(),
            "web.yaml: this is a sequence: separate its objects",
        ),
        (
            "apiVersion: v1\nkind: Endpoints\nmetadata: {name: a}\n---\napiVersion: v1\nkind: Endpoints\n".to_owned(),
            "web.yaml: Endpoints default/a and 1 more: Endpoints are not read: write an EndpointSlice",
        ),
        (
            "hello\n".to_owned(),
            "web.yaml: this is not a Kubernetes object",
        ),
        (
            service("web") + "---\n" + &service("web"),
            "Service default/web: occurs twice in web.yaml: the last one counts; remove one (web.yaml, document at line 7)",
        ),
    ];
    for (text, expected) in cases {
        let problems = parsed("web.yaml", &text).1;
        assert_eq!(problems.len(), 1, "{problems:#?}");
        assert!(problems[0].starts_with(expected), "{problems:#?}");
    }
}

#[test]
fn a_dump_of_a_large_cluster_is_read() {
    let item = "- {apiVersion: v1, kind: Service, metadata: {name: sNUMBER}, spec: {clusterIP: 10.96.0.1, ports: [{port: 80}]}}\n";
    let items: String = (0..20_000)
        .map(|n| item.replace("NUMBER", &n.to_string()))
        .collect();
    let text = format!("apiVersion: v1\nkind: List\nitems:\n{items}");
    assert_eq!(
        parse::text(
            Path::new("all.yaml"),
            &text,
            ClientKinds::default(),
            &BTreeMap::new()
        )
        .objects
        .len(),
        20_000
    );
}

#[test]
fn objects_keep_all_their_fields() {
    let parsed = parse::text(
        Path::new("a.yaml"),
        &service("web"),
        ClientKinds::default(),
        &BTreeMap::new(),
    );
    let object = parsed.objects.into_values().next().expect("one object");
    let Object::Service(service) = &object else {
        panic!("a Service")
    };
    assert_eq!(service.spec.cluster_ip.as_deref(), Some("10.96.0.1"));
    assert_eq!(service.spec.ports[0].port, Some(80));
}

#[test]
fn nested_aliases_are_reported_in_one_line() {
    let mut text = "a0: &a0 [x]\n".to_owned();
    for n in 1..100 {
        text.push_str(&format!("a{n}: &a{n} [*a{}]\n", n - 1));
    }
    let (_, problems) = parsed("a.yaml", &text);
    assert_eq!(problems.len(), 1, "{problems:#?}");
    assert!(problems[0].starts_with("a.yaml: line "), "{problems:#?}");
    let end = ": it is nested too deeply, or its aliases expand to too much: correct it";
    assert!(problems[0].ends_with(end), "{problems:#?}");
}

/// The first would expand to a hundred times its length; the second has more aliases than any real file.
#[test]
fn the_expansion_of_aliases_is_limited() {
    let long = "x".repeat(1_000);
    let texts = [
        format!("a: &a {long}\nb: [{}]\n", "*a,".repeat(1_000)),
        format!("a: &a [{}]\nb: [{}]\n", "1,".repeat(100), "*a,".repeat(100)),
    ];
    for text in texts {
        let (_, problems) = parsed("a.yaml", &text);
        assert_eq!(problems.len(), 1, "{problems:#?}");
        assert!(
            problems[0].contains("its aliases expand to too much"),
            "{problems:#?}"
        );
    }
}

#[test]
fn the_line_of_each_json_value_is_known() {
    let (_, problems) = parsed(
        "a.json",
        "\n{\"kind\": \"Service\"}\n\n[] []\n{\"kind\": \"Service\"\n} 1",
    );
    let at: Vec<_> = problems
        .iter()
        .filter_map(|problem| problem.rsplit_once("line "))
        .map(|(_, line)| line)
        .collect();
    assert_eq!(at, ["2)", "4)", "4)", "5)", "6)"]);
}
