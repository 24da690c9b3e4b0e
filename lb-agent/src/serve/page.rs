//! The status page: one HTML page with its style and script, and the JSON that the script asks for every two seconds.

use std::net::IpAddr;

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use tokio::sync::mpsc;

use super::question::Question;
use super::readiness::{ANSWER_WITHIN, answer_within, no_answer};

const PAGE: &str = include_str!("page/index.html");
const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.js");

/// Everything comes from this server, no other page may embed it, and nothing in it runs but the script.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// `/`, and what it loads.
pub fn routes(questions: mpsc::Sender<Question>) -> Router {
    let text = |kind: &'static str, text: &'static str| {
        get(async move || ([(header::CONTENT_TYPE, kind)], text))
    };
    Router::new()
        .route("/", text("text/html; charset=utf-8", PAGE))
        .route("/page.css", text("text/css; charset=utf-8", STYLE))
        .route("/page.js", text("text/javascript; charset=utf-8", SCRIPT))
        .route("/page.json", get(data))
        .layer(middleware::from_fn(protect))
        .with_state(questions)
}

async fn data(State(questions): State<mpsc::Sender<Question>>) -> Response {
    match answer_within(ANSWER_WITHIN, &questions, Question::Page).await {
        Some(page) => Json(page).into_response(),
        None => no_answer(),
    }
}

/// Refuses requests whose Host header names another host. Otherwise a web site could let its own name resolve to this
/// address, and its scripts could read this page (DNS rebinding).
async fn protect(request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST);
    let host = host.and_then(|host| host.to_str().ok()).unwrap_or_default();
    if !is_own(host) {
        let why = "open this page by the address of the node or as localhost\n";
        return (StatusCode::MISDIRECTED_REQUEST, why).into_response();
    }
    let mut answer = next.run(request).await;
    let headers = answer.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        headers.insert(name, header::HeaderValue::from_static(value));
    }
    answer
}

/// Whether a Host header names an address, or localhost.
fn is_own(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'));
    name == "localhost" || address.unwrap_or(name).parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::is_own;

    #[test]
    fn only_addresses_and_localhost_are_own_hosts() {
        for host in [
            "127.0.0.1:10356",
            "127.0.0.1",
            "[::1]:10356",
            "[::1]",
            "localhost:8080",
            "localhost",
        ] {
            assert!(is_own(host), "{host}");
        }
        for host in [
            "",
            "example.com",
            "example.com:10356",
            "127.0.0.1.example.com:80",
            "localhost.example.com",
        ] {
            assert!(!is_own(host), "{host}");
        }
    }
}
