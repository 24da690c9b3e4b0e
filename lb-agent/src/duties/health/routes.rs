//! The answers over HTTP, as kube-proxy gives them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use serde::Serialize;
use serde_json::ser::PrettyFormatter;

use super::HealthView;
use crate::catalog::ObjectName;
use crate::duties::DutyMetrics;

const HEALTHZ: &str = "/healthz";
const LIVEZ: &str = "/livez";

/// The number of local endpoints, by which some load balancers weigh nodes.
const WEIGHT: HeaderName = HeaderName::from_static("x-load-balancing-endpoint-weight");

#[derive(Clone, Debug)]
struct HealthzState {
    health: HealthView,
    metrics: DutyMetrics,
}

/// `/healthz` and `/livez`, for any method. Other paths do not exist.
pub(super) fn healthz(health: HealthView, metrics: DutyMetrics) -> Router {
    let healthz = |State(state): State<HealthzState>| async move { state.answer(HEALTHZ, true) };
    let livez = |State(state): State<HealthzState>| async move { state.answer(LIVEZ, false) };
    Router::new()
        .route(HEALTHZ, any(healthz))
        .route(LIVEZ, any(livez))
        .with_state(HealthzState { health, metrics })
}

impl HealthzState {
    fn answer(&self, path: &'static str, with_node: bool) -> Response {
        let (body, is_well) = self.health.read(|health, now| health.body(with_node, now));
        let code = code(is_well);
        self.metrics.answered(path, code.as_u16());
        json(code, serde_json::to_vec(&body))
    }
}

/// One Service's answer. The number of endpoints may change while the server runs.
#[derive(Clone, Debug)]
pub(super) struct ServiceAnswer {
    pub(super) name: ObjectName,
    pub(super) local_endpoints: Arc<AtomicUsize>,
    pub(super) health: HealthView,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ServiceBody<'a> {
    service: ServiceName<'a>,
    local_endpoints: usize,
    service_proxy_healthy: bool,
}

#[derive(Serialize)]
struct ServiceName<'a> {
    namespace: &'a str,
    name: &'a str,
}

/// The health check of one Service, for any path and method.
pub(super) fn service(answer: ServiceAnswer) -> Router {
    let answer_one = |State(answer): State<ServiceAnswer>| async move { answer.answer() };
    Router::new().fallback(answer_one).with_state(answer)
}

impl ServiceAnswer {
    fn answer(&self) -> Response {
        let local_endpoints = self.local_endpoints.load(Ordering::Relaxed);
        let is_healthy = self.health.read(|health, now| health.serves_packets(now));
        let body = ServiceBody {
            service: ServiceName {
                namespace: &self.name.namespace,
                name: &self.name.name,
            },
            local_endpoints,
            service_proxy_healthy: is_healthy,
        };
        // kube-proxy indents it with tabs.
        let mut text = Vec::new();
        let formatter = PrettyFormatter::with_indent(b"\t");
        let mut serializer = serde_json::Serializer::with_formatter(&mut text, formatter);
        let written = body.serialize(&mut serializer).map(|()| text);
        let weight = [(WEIGHT, local_endpoints.to_string())];
        (
            weight,
            json(code(local_endpoints > 0 && is_healthy), written),
        )
            .into_response()
    }
}

const fn code(is_well: bool) -> StatusCode {
    if is_well {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    }
}

fn json(code: StatusCode, body: serde_json::Result<Vec<u8>>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "application/json"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    match body {
        Ok(body) => (code, headers, body).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
