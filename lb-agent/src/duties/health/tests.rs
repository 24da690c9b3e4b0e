//! What load balancers are told, and when.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt as _;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::proxy_health::{Moment, ProxyHealth};
use super::routes::{self, ServiceAnswer};
use super::{HealthReporter, NodeEligibility};
use crate::catalog::{Catalog, Change, Family, Object, ObjectName};
use crate::duties::DutyMetrics;

use Family::{Ipv4, Ipv6};

/// A moment, in seconds after the start.
struct Clock {
    start: Moment,
    seconds: i64,
}

impl Clock {
    fn new() -> Self {
        let time = "2026-01-31T12:00:00Z".parse().expect("a time");
        let instant = Instant::now();
        Self {
            start: Moment { instant, time },
            seconds: 0,
        }
    }

    fn now(&self) -> Moment {
        let passed = SignedDuration::from_secs(self.seconds);
        Moment {
            instant: self.start.instant + passed.unsigned_abs(),
            time: self.time_after(self.seconds),
        }
    }

    fn time_after(&self, seconds: i64) -> Timestamp {
        self.start.time + SignedDuration::from_secs(seconds)
    }
}

enum Step {
    Queue(Family),
    Update(Family),
    Beat,
    Pass(i64),
}

/// When each family was last updated, in seconds after the start, and whether it is healthy.
type Families = &'static [(Family, i64, bool)];

use Step::{Beat, Pass, Queue, Update};

/// Plays steps. After each group it compares the whole JSON of `/healthz` with the expected states.
#[track_caller]
fn play(steps: &[(&[Step], Families)]) {
    let mut clock = Clock::new();
    let mut health = ProxyHealth::default();
    health.node = NodeEligibility::Eligible;
    for (index, (group, families)) in steps.iter().enumerate() {
        for step in *group {
            match step {
                Queue(family) => health.queued(*family, clock.now()),
                Update(family) => health.updated(*family, clock.now()),
                Beat => health.beat(clock.now()),
                Pass(seconds) => clock.seconds += seconds,
            }
        }
        let now = clock.now();
        let healthy = families.iter().all(|(.., healthy)| *healthy);
        let last = families.iter().map(|(_, at, _)| *at).max().unwrap_or(0);
        let last_updated = if healthy { clock.seconds } else { last };
        let mut expected = json!({
            "lastUpdated": clock.time_after(last_updated),
            "currentTime": now.time,
            "nodeEligible": true,
            "healthy": healthy,
        });
        for (family, at, healthy) in *families {
            let updated = clock.time_after(*at);
            expected["status"][family.to_string()] =
                json!({"lastUpdated": updated, "healthy": healthy});
        }
        let (body, is_well) = health.body(true, now);
        let body = serde_json::to_value(body).expect("JSON");
        assert_eq!((body, is_well), (expected, healthy), "after group {index}");
        assert_eq!(health.is_healthy(now), healthy, "after group {index}");
    }
}

/// The sequence of `testProxyHealthUpdater` in kube-proxy's healthcheck_test.go, with its 25 s (for a limit of 10 s) as
/// 150 s (for a limit of 60 s).
#[test]
fn a_change_that_waits_too_long_makes_its_family_unhealthy() {
    play(&[
        (&[], &[]),
        (
            &[Update(Ipv4), Update(Ipv6)],
            &[(Ipv4, 0, true), (Ipv6, 0, true)],
        ),
        (&[Pass(150)], &[(Ipv4, 0, true), (Ipv6, 0, true)]),
        (
            &[Queue(Ipv4), Pass(150)],
            &[(Ipv4, 0, false), (Ipv6, 0, true)],
        ),
        (
            &[Update(Ipv4), Update(Ipv6), Pass(5)],
            &[(Ipv4, 300, true), (Ipv6, 300, true)],
        ),
        (
            &[Queue(Ipv6), Pass(150)],
            &[(Ipv4, 300, true), (Ipv6, 300, false)],
        ),
        // Updating the one that is not late has no effect on the other.
        (&[Update(Ipv4)], &[(Ipv4, 455, true), (Ipv6, 300, false)]),
        (&[Update(Ipv6)], &[(Ipv4, 455, true), (Ipv6, 455, true)]),
        (
            &[Queue(Ipv4), Queue(Ipv6), Pass(150)],
            &[(Ipv4, 455, false), (Ipv6, 455, false)],
        ),
        (
            &[Update(Ipv4), Update(Ipv6)],
            &[(Ipv4, 605, true), (Ipv6, 605, true)],
        ),
    ]);
}

#[test]
fn the_oldest_change_counts_and_the_limit_is_sixty_seconds() {
    play(&[
        (&[Update(Ipv4), Queue(Ipv4)], &[(Ipv4, 0, true)]),
        (&[Pass(59), Queue(Ipv4)], &[(Ipv4, 0, true)]),
        (&[Pass(1)], &[(Ipv4, 0, false)]),
    ]);
}

#[test]
fn an_agent_that_starts_is_healthy() {
    play(&[(&[Queue(Ipv4), Beat, Pass(600)], &[])]);
}

#[test]
fn a_main_loop_that_hangs_makes_all_families_unhealthy() {
    play(&[
        (
            &[Update(Ipv4), Update(Ipv6), Beat, Pass(59)],
            &[(Ipv4, 0, true), (Ipv6, 0, true)],
        ),
        (&[Pass(1)], &[(Ipv4, 0, false), (Ipv6, 0, false)]),
        (&[Beat], &[(Ipv4, 0, true), (Ipv6, 0, true)]),
    ]);
}

#[test]
fn before_the_first_update_the_time_is_that_of_go() {
    let health = ProxyHealth::default();
    let (body, is_well) = health.body(true, Clock::new().now());
    assert!(!is_well, "there is no Node");
    let body = serde_json::to_string(&body).expect("JSON");
    assert_eq!(
        body,
        r#"{"lastUpdated":"0001-01-01T00:00:00Z","currentTime":"2026-01-31T12:00:00Z","nodeEligible":false,"healthy":true}"#
    );
}

struct Answer {
    code: StatusCode,
    headers: HeaderMap,
    text: String,
}

fn ask(router: &Router, method: &str, path: &str) -> Answer {
    let request = Request::builder().method(method).uri(path);
    let request = request.body(Body::empty()).expect("a request");
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.expect("a runtime").block_on(async {
        let response = router.clone().oneshot(request).await.expect("an answer");
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.expect("a body").to_bytes();
        Answer {
            code: parts.status,
            headers: parts.headers,
            text: String::from_utf8(bytes.to_vec()).expect("text"),
        }
    })
}

fn node(text: &str) -> Change {
    let node = serde_json::from_str(text).expect("a Node");
    Change::Set(Object::Node(Arc::new(node)))
}

/// The nodes of `TestHealthzServer` and `TestLivezServer` in kube-proxy's healthcheck_test.go, and one that is missing.
#[test]
fn the_node_matters_to_healthz_only() {
    let reporter = HealthReporter::default();
    let router = routes::healthz(reporter.view(), DutyMetrics::default());
    reporter.updated(&[Ipv4, Ipv6]);
    let mut catalog = Catalog::new("test-node");
    let mut check = |change: Option<Change>, is_eligible: bool| {
        if let Some(change) = change {
            catalog.apply(change);
        }
        reporter.set_node(NodeEligibility::of(&catalog, true));
        let healthz = ask(&router, "GET", "/healthz");
        let livez = ask(&router, "HEAD", "/livez");
        let code = if is_eligible { 200 } else { 503 };
        assert_eq!((healthz.code.as_u16(), livez.code.as_u16()), (code, 200));
        let body: Value = serde_json::from_str(&healthz.text).expect("JSON");
        assert_eq!(body["nodeEligible"], is_eligible);
        assert_eq!(body["healthy"], true);
        for answer in [healthz, livez] {
            assert_eq!(answer.headers["content-type"], "application/json");
            assert_eq!(answer.headers["x-content-type-options"], "nosniff");
        }
    };
    check(None, false);
    let tainted = |key| {
        node(&format!(
            r#"{{"metadata": {{"name": "test-node"}}, "spec": {{"taints": [{{"key": "{key}"}}]}}}}"#
        ))
    };
    check(Some(tainted("other")), true);
    check(Some(tainted("ToBeDeletedByClusterAutoscaler")), false);
    check(Some(tainted("other")), true);
    let deleted =
        r#"{"metadata": {"name": "test-node", "deletionTimestamp": "2026-01-31T12:00:00Z"}}"#;
    check(Some(node(deleted)), false);

    let livez = ask(&router, "GET", "/livez").text;
    let livez: Value = serde_json::from_str(&livez).expect("JSON");
    assert_eq!(livez.get("nodeEligible"), None);
    assert_eq!(ask(&router, "GET", "/readyz").code, 404);
}

#[test]
fn manifests_need_not_describe_the_node() {
    let catalog = Catalog::new("test-node");
    assert!(!NodeEligibility::of(&catalog, true).is_eligible());
    assert!(NodeEligibility::of(&catalog, false).is_eligible());
}

/// As in kube-proxy's `TestServer` (healthcheck_test.go), but that the proxy's health comes from a report.
#[test]
fn a_service_answers_with_its_endpoints_while_the_proxy_is_healthy() {
    for (local_endpoints, is_healthy, code) in [
        (0, true, 503),
        (18, true, 200),
        (1, true, 200),
        (7, false, 503),
        (0, false, 503),
    ] {
        let reporter = HealthReporter::default();
        if !is_healthy {
            reporter.report_late(Ipv4, Duration::from_secs(60));
        }
        let router = routes::service(ServiceAnswer {
            name: ObjectName::new("a", "b"),
            local_endpoints: Arc::new(AtomicUsize::new(local_endpoints)),
            health: reporter.view(),
        });
        let answer = ask(&router, "GET", "/any/path");
        assert_eq!(answer.code, code);
        assert_eq!(
            answer.text,
            format!(
                "{{\n\t\"service\": {{\n\t\t\"namespace\": \"a\",\n\t\t\"name\": \"b\"\n\t}},\n\
                 \t\"localEndpoints\": {local_endpoints},\n\t\"serviceProxyHealthy\": {is_healthy}\n}}"
            )
        );
        let headers = &answer.headers;
        assert_eq!(headers["content-type"], "application/json");
        assert_eq!(headers["x-content-type-options"], "nosniff");
        assert_eq!(
            headers["x-load-balancing-endpoint-weight"],
            local_endpoints.to_string().as_str()
        );
    }
}
