//! The discovery API and the health checks, as far as kubectl needs them to find the kinds and their paths.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use serde_json::{Value, json};

use super::behaviour::{Behaviour, StreamingLists};
use super::faults::Verb;
use super::kind::Kind;
use super::refusal::{Refusal, json_response};
use super::routes::gate;
use super::shared::Shared;

/// The type of an empty schema, with which kubectl validates nothing: an empty body is a message of this type.
const OPENAPI_TYPE: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

pub(super) fn routes() -> Router<Arc<Shared>> {
    let mut paths: BTreeSet<String> = Kind::ALL.into_iter().map(Kind::base).collect();
    paths.extend(groups().map(|group| format!("/apis/{group}")));
    paths.extend(
        [
            "/version",
            "/api",
            "/apis",
            "/openapi/v2",
            "/healthz",
            "/livez",
            "/readyz",
        ]
        .map(str::to_owned),
    );
    paths
        .iter()
        .fold(Router::new(), |router, path| router.route(path, get(serve)))
}

async fn serve(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    if let Err(response) = gate(&shared, None, Verb::Get, &request).await {
        return response;
    }
    let behaviour = shared.state().behaviour.clone();
    let has_service_cidrs = behaviour.service_cidrs;
    let kinds = Kind::ALL
        .into_iter()
        .filter(|kind| has_service_cidrs || *kind != Kind::ServiceCidr);
    match request.uri().path() {
        "/healthz" | "/livez" | "/readyz" => "ok".into_response(),
        "/openapi/v2" => (
            [(header::CONTENT_TYPE, HeaderValue::from_static(OPENAPI_TYPE))],
            "",
        )
            .into_response(),
        "/version" => json_response(StatusCode::OK, version(&behaviour).to_string()),
        path => match document(path, kinds) {
            Some(document) => json_response(StatusCode::OK, document.to_string()),
            None => Refusal::no_such_path(),
        },
    }
}

fn version(behaviour: &Behaviour) -> Value {
    let minor = match behaviour.streaming_lists {
        StreamingLists::Served | StreamingLists::Refused => "36",
        StreamingLists::Ignored => "26",
    };
    json!({
        "major": "1",
        "minor": minor,
        "gitVersion": format!("v1.{minor}.0-socklb-testbed-{}", env!("CARGO_PKG_VERSION")),
        "platform": "linux/amd64",
    })
}

fn document(path: &str, kinds: impl Iterator<Item = Kind>) -> Option<Value> {
    match path {
        "/api" => Some(
            json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}),
        ),
        "/apis" => Some(json!({
            "kind": "APIGroupList",
            "apiVersion": "v1",
            "groups": groups().map(group).collect::<Vec<_>>(),
        })),
        path => {
            let of_version = |kind: &Kind| kind.base() == path;
            match groups().find(|name| path == format!("/apis/{name}")) {
                Some(name) => {
                    let mut group = group(name);
                    group["kind"] = json!("APIGroup");
                    group["apiVersion"] = json!("v1");
                    Some(group)
                }
                None => {
                    let version = Kind::ALL.into_iter().find(of_version)?.facts().api_version;
                    Some(resources(version, kinds.filter(of_version)))
                }
            }
        }
    }
}

/// All groups except the core group.
fn groups() -> impl Iterator<Item = &'static str> {
    let groups: BTreeSet<_> = Kind::ALL.map(|kind| kind.facts().group).into();
    groups.into_iter().filter(|group| !group.is_empty())
}

fn group(name: &str) -> Value {
    let version = json!({"groupVersion": format!("{name}/v1"), "version": "v1"});
    json!({"name": name, "versions": [version], "preferredVersion": version})
}

fn resources(version: &str, kinds: impl Iterator<Item = Kind>) -> Value {
    let resources: Vec<_> = kinds
        .map(|kind| {
            let facts = kind.facts();
            json!({
                "name": facts.plural,
                "singularName": facts.singular,
                "namespaced": facts.namespaced,
                "kind": facts.name,
                "shortNames": facts.short_names,
                "verbs": ["create", "delete", "get", "list", "patch", "update", "watch"],
            })
        })
        .collect();
    json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": version,
        "resources": resources,
    })
}
