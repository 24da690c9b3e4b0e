//! Annotations below `socklb.dev/` that are misspelled, or on an object of another kind.

use super::{check_problems, service, slice};

#[test]
fn an_annotation_without_a_meaning_is_a_problem() {
    let annotated = |yaml: String, name: &str, annotations: &str| {
        yaml.replace(
            &format!("{{name: {name}"),
            &format!("{{name: {name}, annotations: {{{annotations}}}"),
        )
    };
    let ready = ["{addresses: [10.1.0.1], conditions: {ready: true}}"];
    let service = annotated(
        service("web", ""),
        "web",
        "socklb.dev/weight: '2', socklb.dev/algoritm: maglev, example.com/weight: '3'",
    );
    let slice = annotated(slice("s1", &ready), "s1", "socklb.dev/drain: 30s");
    check_problems(
        &(service + &slice),
        &["default/web/TCP (IPv4) all [ClusterIP 10.96.0.1 80] -> 10.1.0.1:8080"],
        &[
            "Service default/web: annotation socklb.dev/weight ",
            "Service default/web: annotation socklb.dev/algoritm ",
            "EndpointSlice default/s1: annotation socklb.dev/drain ",
        ],
    );
}
