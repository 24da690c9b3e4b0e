//! Which Services load balancers ask about, and how many endpoints they hear of.

use crate::catalog::ObjectName;
use crate::policy::HealthCheck;

use super::{Case, slice};

/// Port and number of endpoints; none if the Service web has no health check.
fn health_check(yaml: &str) -> Result<Option<(u16, usize)>, String> {
    let case = Case::new(yaml);
    let name = ObjectName::new("default", "web");
    let check = case.policy.health_check(&case.catalog, &name);
    let pair = |check: HealthCheck| (check.port, check.local_endpoints);
    check
        .map(|check| check.map(pair))
        .map_err(|problem| problem.to_string())
}

fn web(spec: &str) -> String {
    format!(
        "---\nkind: Service\nmetadata: {{name: web}}\nspec: {{clusterIP: 10.96.0.1, ports: [{{port: 80}}], {spec}}}\n"
    )
}

const LOCAL: &str = "type: LoadBalancer, externalTrafficPolicy: Local, healthCheckNodePort: 30123";

fn count(endpoints: &[&str]) -> usize {
    let yaml = web(LOCAL) + &slice("a", endpoints);
    let check = health_check(&yaml).expect("the port is sound");
    let (port, count) = check.expect("it has a health check");
    assert_eq!(port, 30123);
    count
}

#[test]
fn only_a_local_load_balancer_has_one() {
    for (spec, expected) in [
        ("type: ClusterIP, healthCheckNodePort: 30123", None),
        (
            "type: NodePort, externalTrafficPolicy: Local, healthCheckNodePort: 30123",
            None,
        ),
        (
            "type: LoadBalancer, externalTrafficPolicy: Cluster, healthCheckNodePort: 30123",
            None,
        ),
        ("type: LoadBalancer, healthCheckNodePort: 30123", None),
        (
            "type: ClusterIP, externalIPs: [192.0.2.1], externalTrafficPolicy: Local, healthCheckNodePort: 30123",
            None,
        ),
        (LOCAL, Some((30123, 0))),
    ] {
        assert_eq!(health_check(&web(spec)), Ok(expected), "{spec}");
    }
}

#[test]
fn a_service_that_is_not_served_has_none() {
    for metadata in [
        "{name: web, labels: {service.kubernetes.io/service-proxy-name: other}}",
        "{name: web, annotations: {socklb.dev/ignore: 'true'}}",
        "{name: another}",
    ] {
        let yaml = web(LOCAL).replace("{name: web}", metadata);
        assert_eq!(health_check(&yaml), Ok(None), "{metadata}");
    }
}

#[test]
fn without_a_port_it_is_a_problem() {
    for port in [
        "",
        ", healthCheckNodePort: 0",
        ", healthCheckNodePort: 65536",
    ] {
        let spec = format!("type: LoadBalancer, externalTrafficPolicy: Local{port}");
        let problem = health_check(&web(&spec)).expect_err(port);
        assert!(
            problem.starts_with("Service default/web: spec.healthCheckNodePort"),
            "{problem}"
        );
    }
}

#[test]
fn endpoints_count_if_they_are_here_and_ready() {
    let here = "nodeName: n1";
    assert_eq!(count(&[]), 0);
    assert_eq!(
        count(&[
            &format!("{{addresses: [10.1.0.1], {here}}}"),
            &format!("{{addresses: [10.1.0.2], {here}, conditions: {{ready: true}}}}"),
            "{addresses: [10.1.0.3], nodeName: n2}",
            "{addresses: [10.1.0.4]}",
            &format!("{{addresses: [10.1.0.5], {here}, conditions: {{ready: false}}}}"),
        ]),
        2
    );
    let drained = slice("a", &[&format!("{{addresses: [10.1.0.1], {here}}}")]);
    let annotated = "annotations: {socklb.dev/weight: '0'}, labels:";
    let drained = web(LOCAL) + &drained.replace("labels:", annotated);
    assert_eq!(health_check(&drained), Ok(Some((30123, 0))));
    // It still gets traffic, but load balancers are to turn to other nodes.
    let terminating = "conditions: {ready: false, serving: true, terminating: true}";
    assert_eq!(
        count(&[&format!("{{addresses: [10.1.0.1], {here}, {terminating}}}")]),
        0
    );
    // As with `publishNotReadyAddresses`.
    let published = "conditions: {ready: true, terminating: true}";
    assert_eq!(
        count(&[&format!("{{addresses: [10.1.0.1], {here}, {published}}}")]),
        1
    );
}

#[test]
fn a_pod_with_two_ports_or_two_families_counts_once() {
    let endpoints = "endpoints: [{addresses: [ADDRESS], nodeName: n1}]";
    let slice = |name, family, ports, address| {
        format!(
            "---\nkind: EndpointSlice\nmetadata: {{name: {name}, labels: {{kubernetes.io/service-name: web}}}}\n\
             addressType: {family}\nports: [{ports}]\n{}\n",
            endpoints.replace("ADDRESS", address)
        )
    };
    let ports = "{name: a, port: 80}, {name: b, port: 443}";
    let yaml = web(LOCAL).replace(
        "clusterIP: 10.96.0.1, ports: [{port: 80}]",
        "clusterIPs: [10.96.0.1, 'fd00::1'], ports: [{name: a, port: 80}, {name: b, port: 443}]",
    ) + &slice("four", "IPv4", ports, "10.1.0.1")
        + &slice("six", "IPv6", ports, "'fd00:1::1'");
    assert_eq!(health_check(&yaml), Ok(Some((30123, 1))));
}
