//! Errors as clients see them: `Status` objects with codes and reasons.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::kind::Kind;
use super::object::Key;

/// Seconds in `Retry-After`.
const RETRY_AFTER: u32 = 1;

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Refusal {
    code: u16,
    reason: &'static str,
    message: String,
    details: Value,
}

impl Refusal {
    /// The path is of no resource. A real server answers with text, without a `Status`.
    pub(super) fn no_such_path() -> Response {
        let mut response = (StatusCode::NOT_FOUND, "404 page not found\n").into_response();
        response.headers_mut().insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        );
        response
    }

    pub(super) fn not_found(kind: Kind, key: &Key) -> Self {
        let message = format!("{} {:?} not found", qualified(kind), key.name);
        Self::about(404, "NotFound", kind, &key.name, message)
    }

    pub(super) fn already_exists(kind: Kind, key: &Key) -> Self {
        let message = format!("{} {:?} already exists", qualified(kind), key.name);
        Self::about(409, "AlreadyExists", kind, &key.name, message)
    }

    pub(super) fn conflict(kind: Kind, key: &Key) -> Self {
        let message = format!(
            "Operation cannot be fulfilled on {} {:?}: the object has been modified; \
             please apply your changes to the latest version and try again",
            qualified(kind),
            key.name
        );
        Self::about(409, "Conflict", kind, &key.name, message)
    }

    pub(super) fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// An invalid object or parameter.
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(422, "Invalid", message)
    }

    pub(super) fn unsupported_media_type(message: impl Into<String>) -> Self {
        Self::new(415, "UnsupportedMediaType", message)
    }

    pub(super) fn method_not_allowed() -> Self {
        let message = "the server does not allow this method on the requested resource";
        Self::new(405, "MethodNotAllowed", message)
    }

    /// The client asked for a later revision than the current one.
    pub(super) fn too_large_revision(asked: u64, current: u64) -> Self {
        let message = format!("Too large resource version: {asked}, current: {current}");
        let mut refusal = Self::new(504, "Timeout", message);
        refusal.details = json!({
            "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
            "retryAfterSeconds": RETRY_AFTER,
        });
        refusal
    }

    /// A fault that a test injected.
    pub(super) fn with_code(code: u16) -> Self {
        let (reason, message) = match code {
            401 => ("Unauthorized", "Unauthorized"),
            403 => ("Forbidden", "forbidden: a test injected this"),
            410 => ("Expired", "too old resource version: a test injected this"),
            429 => (
                "TooManyRequests",
                "too many requests, please try again later",
            ),
            500 => (
                "InternalError",
                "an error on the server: a test injected this",
            ),
            503 => ("ServiceUnavailable", "the server is currently unavailable"),
            504 => ("Timeout", "the server did not answer in time"),
            _ => ("", "a test injected this"),
        };
        let mut refusal = Self::new(code, reason, message);
        if refusal.has_retry_after() {
            refusal.details = json!({"retryAfterSeconds": RETRY_AFTER});
        }
        refusal
    }

    pub(super) fn message(&self) -> &str {
        &self.message
    }

    /// For an `ERROR` event, or the body of an answer.
    pub(super) fn to_json(&self) -> Value {
        json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "details": self.details,
            "code": self.code,
        })
    }

    fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason,
            message: message.into(),
            details: json!({}),
        }
    }

    fn about(code: u16, reason: &'static str, kind: Kind, name: &str, message: String) -> Self {
        let facts = kind.facts();
        Self {
            details: json!({"name": name, "group": facts.group, "kind": facts.plural}),
            ..Self::new(code, reason, message)
        }
    }

    fn has_retry_after(&self) -> bool {
        matches!(self.code, 429 | 503 | 504)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let code = StatusCode::from_u16(self.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = json_response(code, self.to_json().to_string());
        if self.has_retry_after() {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER));
        }
        response
    }
}

/// An answer of type `application/json`.
pub(super) fn json_response(code: StatusCode, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = code;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    response
}

/// `endpointslices.discovery.k8s.io`, as messages name it.
fn qualified(kind: Kind) -> String {
    let facts = kind.facts();
    match facts.group {
        "" => facts.plural.to_owned(),
        group => format!("{}.{group}", facts.plural),
    }
}
