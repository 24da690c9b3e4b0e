//! The paths of objects, and what each method does there.

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
use super::patch::Patch;
use super::query::{self, ListQuery, WatchQuery};
use super::refusal::{Refusal, json_response};
use super::shared::Shared;
use super::table::Form;
use super::{discovery, list, watch};

/// A real server takes 3 MiB; a slice of 1,000 endpoints has less than half of that.
const LARGEST_BODY: usize = 3 << 20;

/// What the path names.
#[derive(Debug, Default, Deserialize)]
struct Place {
    namespace: Option<String>,
    name: Option<String>,
}

/// Whether the path ends in `/status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Whole,
    Status,
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
    let status = Router::new()
        .route(&format!("{collection}/{{name}}/status"), any(serve))
        .layer(Extension(Part::Status));
    router
        .route(&format!("{collection}/{{name}}"), any(serve))
        .layer(Extension(Part::Whole))
        .merge(status)
        .layer(Extension(kind))
}

/// Any request for objects.
async fn serve(
    State(shared): State<Arc<Shared>>,
    Extension(kind): Extension<Kind>,
    Extension(part): Extension<Part>,
    Path(place): Path<Place>,
    Query(query): Query<query::Query>,
    request: Request,
) -> Response {
    let is_one = place.name.is_some();
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
    let form = Form::accepted(header_of(request.headers(), &header::ACCEPT));
    let answer = match verb {
        Verb::List => list(&shared, kind, place.namespace, &query, form),
        Verb::Watch => {
            let behaviour = shared.state().behaviour.clone();
            WatchQuery::parse(kind, place.namespace, &query, &behaviour)
                .and_then(|query| watch::open(&shared, kind, form, query, disturbance))
                .map(|body| json_response(StatusCode::OK, body))
        }
        Verb::Get => {
            let state = shared.state();
            let object = state.store.get(kind, &place.key());
            object.map(|object| json_response(StatusCode::OK, form.of_object(object)))
        }
        Verb::Create => create(&shared, kind, &place, request, form).await,
        Verb::Update => update(&shared, kind, part, &place, request, form).await,
        Verb::Patch => patch(&shared, kind, part, &place, request, form).await,
        Verb::Delete => delete(&shared, kind, &place),
    };
    answer.unwrap_or_else(Refusal::into_response)
}

/// Counts a request and lets it in, or does to it what a fault says. What is to happen to a watch that is let in
/// comes back.
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
    form: Form,
) -> Result<Response, Refusal> {
    let query = ListQuery::parse(kind, namespace, query)?;
    let page = list::page(&shared.state().store, kind, &query)?;
    Ok(json_response(StatusCode::OK, form.of_page(kind, &page)))
}

async fn create(
    shared: &Shared,
    kind: Kind,
    place: &Place,
    request: Request,
    form: Form,
) -> Result<Response, Refusal> {
    require_json(request.headers())?;
    let mut fields = read_object(request).await?;
    let key = key_of(kind, &mut fields, place.namespace.as_deref())?;
    let object = shared.change(|store| store.create(kind, key, fields))?;
    Ok(json_response(StatusCode::CREATED, form.of_object(&object)))
}

async fn update(
    shared: &Shared,
    kind: Kind,
    part: Part,
    place: &Place,
    request: Request,
    form: Form,
) -> Result<Response, Refusal> {
    require_json(request.headers())?;
    let mut fields = read_object(request).await?;
    let key = key_of(kind, &mut fields, place.namespace.as_deref())?;
    if key != place.key() {
        return Err(Refusal::bad_request(format!(
            "the name of the object ({key}) does not match the name on the URL ({})",
            place.key()
        )));
    }
    let object = shared.change(|store| {
        let fields = match part {
            Part::Whole => fields,
            Part::Status => with_status(store.get(kind, &key)?.fields(), fields),
        };
        store.replace(kind, key, fields)
    })?;
    Ok(json_response(StatusCode::OK, form.of_object(&object)))
}

async fn patch(
    shared: &Shared,
    kind: Kind,
    part: Part,
    place: &Place,
    request: Request,
    form: Form,
) -> Result<Response, Refusal> {
    let patch = Patch::of(kind, header_of(request.headers(), &header::CONTENT_TYPE))?;
    let with = read_object(request).await?;
    let key = place.key();
    let object = shared.change(|store| {
        let old = store.get(kind, &key)?.fields();
        let mut fields = old.clone();
        patch.apply(&mut fields, with);
        let fields = match part {
            Part::Whole => fields,
            Part::Status => with_status(old, fields),
        };
        store.replace(kind, key, fields)
    })?;
    Ok(json_response(StatusCode::OK, form.of_object(&object)))
}

fn delete(shared: &Shared, kind: Kind, place: &Place) -> Result<Response, Refusal> {
    let removed = shared.change(|store| store.remove(kind, &place.key()))?;
    let facts = kind.facts();
    let uid = metadata_of(&mut removed.fields()).remove("uid");
    let details =
        json!({"name": removed.key.name, "group": facts.group, "kind": facts.plural, "uid": uid});
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details,
    });
    Ok(json_response(StatusCode::OK, status.to_string()))
}

impl Place {
    fn key(&self) -> Key {
        let text = |part: &Option<String>| part.clone().unwrap_or_default();
        Key {
            namespace: text(&self.namespace),
            name: text(&self.name),
        }
    }
}

/// Some of kubectl's commands send nothing else than protobuf.
fn require_json(headers: &HeaderMap) -> Result<(), Refusal> {
    let content_type = header_of(headers, &header::CONTENT_TYPE);
    if content_type.is_empty() || content_type.starts_with("application/json") {
        return Ok(());
    }
    Err(Refusal::unsupported_media_type(format!(
        "this server reads application/json only, not {content_type}: with kubectl, use apply or replace"
    )))
}

async fn read_object(request: Request) -> Result<Map<String, Value>, Refusal> {
    let body: Bytes = to_bytes(Body::new(request.into_body()), LARGEST_BODY)
        .await
        .map_err(|error| Refusal::bad_request(format!("the body cannot be read: {error}")))?;
    serde_json::from_slice(&body)
        .map_err(|error| Refusal::bad_request(format!("the body is not a JSON object: {error}")))
}

/// The old object with the new one's status, and its claim about which revision that is for.
fn with_status(mut old: Map<String, Value>, mut new: Map<String, Value>) -> Map<String, Value> {
    match new.remove("status") {
        Some(status) => old.insert("status".to_owned(), status),
        None => old.remove("status"),
    };
    if let Some(revision) = metadata_of(&mut new).remove("resourceVersion") {
        metadata_of(&mut old).insert("resourceVersion".to_owned(), revision);
    }
    old
}

fn header_of<'h>(headers: &'h HeaderMap, name: &HeaderName) -> &'h str {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}
