//! The paths of objects, and the methods on them.

use std::future;
use std::sync::Arc;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use axum::{Extension, Router};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::connections::Closed;
use super::faults::{Disturbance, Failure, Verb};
use super::kind::Kind;
use super::object::{Key, key_of, metadata_of};
use super::query::{self, ListQuery, WatchQuery};
use super::refusal::{Refusal, json_response};
use super::shared::Shared;
use super::{discovery, list, patch, watch};

/// The limit of a real server; a slice of 1,000 endpoints has less than half of it.
const LARGEST_BODY: usize = 3 << 20;

/// The part of the path that names an object, or the namespace of a collection.
#[derive(Debug, Default, Deserialize)]
struct ObjectPath {
    namespace: Option<String>,
    name: Option<String>,
}

pub(super) fn router(shared: Arc<Shared>) -> Router {
    Kind::ALL
        .into_iter()
        .map(of_kind)
        .fold(discovery::routes(), Router::merge)
        .fallback(|| async { Refusal::no_such_path() })
        .with_state(shared)
}

fn of_kind(kind: Kind) -> Router<Arc<Shared>> {
    let everywhere = Router::new().route(&kind.path(), any(serve));
    let (router, collection) = if kind.facts().namespaced {
        let path = format!(
            "{}/namespaces/{{namespace}}/{}",
            kind.base(),
            kind.facts().plural
        );
        (everywhere.route(&path, any(serve)), path)
    } else {
        (everywhere, kind.path())
    };
    router
        .route(&format!("{collection}/{{name}}"), any(serve))
        .layer(Extension(kind))
}

/// Any request for objects.
async fn serve(
    State(shared): State<Arc<Shared>>,
    Extension(kind): Extension<Kind>,
    Path(path): Path<ObjectPath>,
    Query(query): Query<query::Query>,
    request: Request,
) -> Response {
    let is_one = path.name.is_some();
    let verb = match (request.method(), is_one) {
        (&Method::GET, false) if query::wants_watch(&query) => Verb::Watch,
        (&Method::GET, false) => Verb::List,
        (&Method::GET, true) => Verb::Get,
        (&Method::POST, false) => Verb::Create,
        (&Method::PUT, true) => Verb::Update,
        (&Method::PATCH, true) => Verb::Patch,
        (&Method::DELETE, true) => Verb::Delete,
        _ => return Refusal::method_not_allowed().into_response(),
    };
    let disturbance = match gate(&shared, Some(kind), verb, &request).await {
        Ok(disturbance) => disturbance,
        Err(response) => return response,
    };
    if kind == Kind::ServiceCidr && !shared.state().behaviour.service_cidrs {
        return Refusal::no_such_path();
    }
    let answer = match verb {
        Verb::List => list(&shared, kind, path.namespace, &query),
        Verb::Watch => {
            let behaviour = shared.state().behaviour.clone();
            WatchQuery::parse(kind, path.namespace, &query, &behaviour)
                .and_then(|query| watch::open(&shared, kind, query, disturbance))
                .map(|body| json_response(StatusCode::OK, body))
        }
        Verb::Get => {
            let state = shared.state();
            let object = state.store.get(kind, &path.key());
            object.map(|object| json_response(StatusCode::OK, object.to_bytes()))
        }
        Verb::Create => create(&shared, kind, &path, request).await,
        Verb::Update => update(&shared, kind, &path, request).await,
        Verb::Patch => merge(&shared, kind, &path, request).await,
        Verb::Delete => delete(&shared, kind, &path),
    };
    answer.unwrap_or_else(Refusal::into_response)
}

/// Counts a request, and admits it or applies a fault. Returns the disturbance of an admitted watch.
pub(super) fn gate(
    shared: &Shared,
    kind: Option<Kind>,
    verb: Verb,
    request: &Request,
) -> impl Future<Output = Result<Option<Disturbance>, Response>> + use<> {
    let authorization = header_of(request.headers(), &header::AUTHORIZATION);
    let token = authorization.strip_prefix("Bearer ");
    let failure = shared.admit(kind, verb, &request.uri().to_string(), token);
    async move {
        match failure {
            None => Ok(None),
            Some(Failure::Disturb(disturbance)) => Ok(Some(disturbance)),
            Some(Failure::Answer(code)) => Err(Refusal::with_code(code).into_response()),
            Some(Failure::Close) => Err(Closed.into_response()),
            Some(Failure::Hang) => future::pending().await,
        }
    }
}

fn list(
    shared: &Shared,
    kind: Kind,
    namespace: Option<String>,
    query: &query::Query,
) -> Result<Response, Refusal> {
    let query = ListQuery::parse(kind, namespace, query)?;
    let page = list::page(&shared.state().store, kind, &query)?;
    Ok(json_response(StatusCode::OK, page.to_bytes()))
}

async fn create(
    shared: &Shared,
    kind: Kind,
    path: &ObjectPath,
    request: Request,
) -> Result<Response, Refusal> {
    require_json(request.headers())?;
    let mut fields = read_object(request).await?;
    let key = key_of(kind, &mut fields, path.namespace.as_deref())?;
    let object = shared.change(|store| store.create(kind, key, fields))?;
    Ok(json_response(StatusCode::CREATED, object.to_bytes()))
}

async fn update(
    shared: &Shared,
    kind: Kind,
    path: &ObjectPath,
    request: Request,
) -> Result<Response, Refusal> {
    require_json(request.headers())?;
    let mut fields = read_object(request).await?;
    let key = key_of(kind, &mut fields, path.namespace.as_deref())?;
    if key != path.key() {
        return Err(Refusal::bad_request(format!(
            "the name of the object ({key}) does not match the name on the URL ({})",
            path.key()
        )));
    }
    let object = shared.change(|store| store.replace(kind, key, fields))?;
    Ok(json_response(StatusCode::OK, object.to_bytes()))
}

async fn merge(
    shared: &Shared,
    kind: Kind,
    path: &ObjectPath,
    request: Request,
) -> Result<Response, Refusal> {
    require_merge_patch(request.headers())?;
    let with = read_object(request).await?;
    let key = path.key();
    let object = shared.change(|store| {
        let mut fields = store.get(kind, &key)?.fields();
        patch::merge(&mut fields, with);
        store.replace(kind, key, fields)
    })?;
    Ok(json_response(StatusCode::OK, object.to_bytes()))
}

fn delete(shared: &Shared, kind: Kind, path: &ObjectPath) -> Result<Response, Refusal> {
    let removed = shared.change(|store| store.remove(kind, &path.key()))?;
    let facts = kind.facts();
    let uid = metadata_of(&mut removed.fields()).remove("uid");
    let details =
        json!({"name": removed.key.name, "group": facts.group, "kind": facts.plural, "uid": uid});
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details,
    });
    Ok(json_response(StatusCode::OK, status.to_string()))
}

impl ObjectPath {
    fn key(&self) -> Key {
        let text = |part: &Option<String>| part.clone().unwrap_or_default();
        Key {
            namespace: text(&self.namespace),
            name: text(&self.name),
        }
    }
}

/// Some of kubectl's commands send nothing but protobuf.
fn require_json(headers: &HeaderMap) -> Result<(), Refusal> {
    match content_type(headers) {
        "" | "application/json" => Ok(()),
        other => Err(Refusal::unsupported_media_type(format!(
            "this server reads only application/json, not {other}: with kubectl, use `create -f` or `replace -f`"
        ))),
    }
}

/// `kubectl apply` sends strategic merge patches for objects that exist.
fn require_merge_patch(headers: &HeaderMap) -> Result<(), Refusal> {
    match content_type(headers) {
        "application/merge-patch+json" => Ok(()),
        other => Err(Refusal::unsupported_media_type(format!(
            "this server applies only application/merge-patch+json, not {other}: with kubectl, use `replace -f` or `patch --type merge`"
        ))),
    }
}

fn content_type(headers: &HeaderMap) -> &str {
    let value = header_of(headers, &header::CONTENT_TYPE);
    value.split(';').next().unwrap_or_default().trim()
}

async fn read_object(request: Request) -> Result<Map<String, Value>, Refusal> {
    let body: Bytes = to_bytes(Body::new(request.into_body()), LARGEST_BODY)
        .await
        .map_err(|error| Refusal::bad_request(format!("the body cannot be read: {error}")))?;
    serde_json::from_slice(&body)
        .map_err(|error| Refusal::bad_request(format!("the body is not a JSON object: {error}")))
}

fn header_of<'h>(headers: &'h HeaderMap, name: &HeaderName) -> &'h str {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}
