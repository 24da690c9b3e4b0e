//! Which Services are served, and which problems are reported for invalid ones.

use std::time::Duration;

use crate::catalog::{Change, Kind, ObjectId, ObjectName, Protocol};
use crate::policy::{Options, Policy};

use super::{Case, check, check_problems, service, slice};

const PLAIN: &str = "default/web/TCP (IPv4) all [ClusterIP 10.96.0.1 80] -> ";

#[test]
fn a_service_without_slices_has_no_backends() {
    check(&service("web", ""), &[PLAIN]);
}

#[test]
fn services_of_other_proxies_are_skipped_silently() {
    for skipped in [
        "{name: web}\nspec: {clusterIP: None, ports: [{port: 80}]}",
        "{name: web}\nspec: {type: ExternalName, externalName: a.b, clusterIP: 10.96.0.1, ports: [{port: 80}]}",
        "{name: web, labels: {service.kubernetes.io/service-proxy-name: ''}}\nspec: {clusterIP: 10.96.0.1, ports: [{port: 80}]}",
        "{name: web, labels: {service.kubernetes.io/headless: ''}}\nspec: {clusterIP: 10.96.0.1, ports: [{port: 80}]}",
        "{name: web, annotations: {socklb.dev/ignore: 'true'}}\nspec: {clusterIP: 10.96.0.1, ports: [{port: 80}]}",
    ] {
        let web = format!("kind: Service\nmetadata: {skipped}\n");
        check(&(web + &slice("a", &["{addresses: [10.1.0.1]}"])), &[]);
    }
}

#[test]
fn services_with_our_proxy_name_are_served() {
    check(
        "kind: Service\nmetadata: {name: web, labels: {service.kubernetes.io/service-proxy-name: socklb}}\n\
         spec: {clusterIP: 10.96.0.1, ports: [{port: 80}]}",
        &[PLAIN],
    );
}

#[test]
fn a_service_without_addresses_or_ports_is_reported() {
    check_problems(
        "kind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 80}]}\n---\n\
         kind: Service\nmetadata: {name: b}\nspec: {clusterIP: 10.96.0.1}\n",
        &[],
        &[
            "Service default/a: spec.clusterIP is missing",
            "Service default/b: spec.ports is empty",
        ],
    );
}

#[test]
fn an_invalid_port_does_not_affect_others() {
    check_problems(
        "kind: Service\nmetadata: {name: web}\nspec:\n  clusterIP: 10.96.0.1\n  ports:\n  \
         - {name: zero, port: 0}\n  - {name: none}\n  - {name: big, port: 65536}\n  - {name: sctp, port: 1, protocol: SCTP}\n  \
         - {name: tcp, port: 1, protocol: tcp}\n  - {name: ok, port: 80, nodePort: 70000}\n  - {name: ok, port: 81}\n  \
         - {name: ok, port: 80, protocol: UDP}\n",
        &[
            "default/web:ok/TCP (IPv4) all [ClusterIP 10.96.0.1 80] -> ",
            "default/web:ok/UDP (IPv4) all [ClusterIP 10.96.0.1 80] -> ",
        ],
        &[
            "spec.ports[0].port 0 is not a port",
            "spec.ports[1].port is missing",
            "spec.ports[2].port 65536 is not a port",
            "spec.ports[3].protocol SCTP is not supported",
            "spec.ports[4].protocol \"tcp\" is unknown: use TCP or UDP",
            "spec.ports[5].nodePort 70000 is not a port",
            "spec.ports[6].name \"ok\" is used twice for TCP",
        ],
    );
}

#[test]
fn a_port_name_with_a_space_is_skipped() {
    let bad = r#"{name: "a b\n", port: 80}, {port: 80}"#;
    check_problems(
        &(service("web", "").replace("{port: 80}", bad)
            + &slice("a", &["{addresses: [10.1.0.1]}"]).replace("{port: 8080}", bad)),
        &[&format!("{PLAIN}10.1.0.1:80")],
        &[
            r#"EndpointSlice default/a: ports[0].name "a b\n" is not a valid name"#,
            r#"Service default/web: spec.ports[0].name "a b\n" is not a valid name"#,
        ],
    );
}

#[test]
fn a_slice_without_its_service_is_reported() {
    let mut case = Case::new(&slice("a", &["{addresses: [10.1.0.1]}"]));
    assert_eq!(case.plan(), [""; 0]);
    assert_eq!(
        case.problems(),
        [
            "EndpointSlice default/a: there is no Service default/web: add it, or correct the label kubernetes.io/service-name"
        ]
    );
    case.set(&service("web", ""));
    assert_eq!(case.problems(), [""; 0]);
    assert_eq!(case.plan(), [format!("{PLAIN}10.1.0.1:8080")]);
}

#[test]
fn an_unreadable_service_is_not_reported_as_missing() {
    let mut case = Case::new(&slice("a", &["{addresses: [10.1.0.1]}"]));
    let web = ObjectId::new(Kind::Service, ObjectName::new("default", "web"));
    case.catalog.apply(Change::Unread(web.clone()));
    case.update();
    assert_eq!(case.problems(), [""; 0]);
    case.catalog.apply(Change::Remove(web.clone()));
    case.update();
    assert_eq!(case.problems().len(), 1);
    case.catalog.apply(Change::Unread(web));
    case.set(&service("web", ""));
    assert_eq!(case.plan(), [format!("{PLAIN}10.1.0.1:8080")]);
    case.remove(&service("web", ""));
    assert_eq!(case.problems().len(), 1);
}

#[test]
fn a_slice_that_names_no_service_is_reported() {
    check_problems(
        "kind: EndpointSlice\nmetadata: {name: a}\naddressType: IPv4\n",
        &[],
        &["EndpointSlice default/a: metadata.labels has no kubernetes.io/service-name"],
    );
}

#[test]
fn affinity_timeouts_follow_the_api_servers_default_and_limits() {
    let seconds = |spec: &str| {
        let case = Case::new(&service("web", spec));
        let port = case.policy.service_ports().next().expect("one port");
        (port.affinity_seconds, case.problems().len())
    };
    let with = |s: &str| {
        format!(
            "  sessionAffinity: ClientIP\n  sessionAffinityConfig: {{clientIP: {{timeoutSeconds: {s}}}}}\n"
        )
    };
    assert_eq!(seconds("  sessionAffinity: None\n"), (None, 0));
    assert_eq!(seconds("  sessionAffinity: ClientIP\n"), (Some(10_800), 0));
    assert_eq!(seconds(&with("86400")), (Some(86_400), 0));
    assert_eq!(seconds(&with("0")), (Some(10_800), 1));
    assert_eq!(seconds(&with("86401")), (Some(10_800), 1));
    assert_eq!(seconds("  sessionAffinity: Cookie\n"), (None, 1));
}

#[test]
fn an_unknown_algorithm_is_reported() {
    let annotated = |value: &str| {
        let web = service("web", "").replace(
            "{name: web}",
            &format!("{{name: web, annotations: {{socklb.dev/algorithm: {value}}}}}"),
        );
        Case::new(&web).problems()
    };
    for name in ["random", "least-conn", "maglev", "round-robin"] {
        assert_eq!(annotated(name), [""; 0]);
    }
    assert_eq!(
        annotated("fastest"),
        [
            "Service default/web: annotation socklb.dev/algorithm \"fastest\": write one of random, least-conn, maglev, round-robin; random is used"
        ]
    );
}

#[test]
fn outlier_detection_is_for_tcp_and_a_wrong_value_is_reported() {
    let watched = |value: &str| {
        let annotated =
            format!("{{name: web, annotations: {{socklb.dev/outlier-detection: \"{value}\"}}}}");
        let ports = "[{name: tcp, port: 80}, {name: udp, port: 80, protocol: UDP}]";
        let web = service("web", "").replace("{name: web}", &annotated);
        let web = web.replace("[{port: 80}]", ports);
        let slice = "kind: EndpointSlice\nmetadata: {name: web-1, labels: {kubernetes.io/service-name: web}}\n\
             addressType: IPv4\nports: [{name: tcp, port: 80}, {name: udp, port: 80, protocol: UDP}]\n\
             endpoints: [{addresses: [10.1.0.1]}]\n";
        let case = Case::new(&format!("{web}---\n{slice}"));
        let ports = case.policy.service_ports();
        let watched = ports.map(|port| (port.key.protocol, port.backends[0].watched));
        (watched.collect::<Vec<_>>(), case.problems())
    };
    let ports = |tcp| vec![(Protocol::Tcp, tcp), (Protocol::Udp, false)];
    assert_eq!(watched("true"), (ports(true), Vec::new()));
    assert_eq!(watched("false"), (ports(false), Vec::new()));
    let (of, problems) = watched("yes");
    assert_eq!(of, ports(false));
    assert_eq!(problems.len(), 1);
    assert!(
        problems[0].starts_with("Service default/web: annotation socklb.dev/outlier-detection")
    );
}

#[test]
fn a_wrong_slow_start_is_reported_and_does_not_count() {
    let annotated = |value: &str| {
        let annotated =
            format!("{{name: web, annotations: {{socklb.dev/slow-start: \"{value}\"}}}}");
        let case = Case::new(&service("web", "").replace("{name: web}", &annotated));
        let port = case.policy.service_ports().next().expect("a service port");
        (
            port.slow_start.map(|takes| takes.as_secs()),
            case.problems(),
        )
    };
    for (value, seconds) in [("1s", 1), ("30s", 30), ("1m 30s", 90), ("1h", 3_600)] {
        assert_eq!(annotated(value), (Some(seconds), Vec::new()));
    }
    for wrong in ["", "30", "0s", "500ms", "-30s", "61m", "soon"] {
        let (takes, problems) = annotated(wrong);
        assert_eq!((takes, problems.len()), (None, 1), "{wrong}");
        let problem = format!("Service default/web: annotation socklb.dev/slow-start {wrong:?}");
        assert!(problems[0].starts_with(&problem), "{problems:?}");
    }
}

#[test]
fn an_invalid_creation_timestamp_is_reported_and_the_service_is_served() {
    let created = |time: &str| {
        let metadata = format!("{{name: web, creationTimestamp: {time}}}");
        service("web", "").replace("{name: web}", &metadata)
    };
    check(&created("2024-01-01T00:00:00Z"), &[PLAIN]);
    check(&created("null"), &[PLAIN]);
    for time in ["yesterday", "5", "[]"] {
        check_problems(
            &created(time),
            &[PLAIN],
            &["Service default/web: metadata.creationTimestamp"],
        );
    }
}

#[test]
fn the_drain_time_is_for_tcp_and_a_wrong_value_is_reported() {
    let of = |value: &str, default: Option<u64>| {
        let annotated = format!("{{name: web, annotations: {{socklb.dev/drain: \"{value}\"}}}}");
        let ports = "[{name: tcp, port: 80}, {name: udp, port: 80, protocol: UDP}]";
        let web = service("web", "").replace("{name: web}", &annotated);
        let mut case = Case::new("");
        case.policy = Policy::new(Options {
            drain: default.map(Duration::from_secs),
            ..Options::default()
        });
        case.set(&web.replace("[{port: 80}]", ports));
        let ports = case.policy.service_ports();
        let drains = ports.map(|port| (port.key.protocol, port.drain.map(|time| time.as_secs())));
        (drains.collect::<Vec<_>>(), case.problems())
    };
    let ports = |tcp| vec![(Protocol::Tcp, tcp), (Protocol::Udp, None)];
    for (value, seconds) in [
        ("30s", Some(30)),
        ("1h 30m", Some(5_400)),
        ("24h", Some(86_400)),
        ("1s", Some(1)),
        ("0s", Some(0)),
        ("none", None),
    ] {
        assert_eq!(of(value, Some(60)), (ports(seconds), Vec::new()), "{value}");
    }
    for value in ["30", "-5s", "25h", "500ms", "1.5s", "", "soon"] {
        for default in [None, Some(60)] {
            let (drains, problems) = of(value, default);
            assert_eq!(drains, ports(default), "{value}");
            let [problem] = &problems[..] else {
                panic!("{problems:?}");
            };
            assert!(problem.starts_with("Service default/web: annotation socklb.dev/drain"));
        }
    }
}
