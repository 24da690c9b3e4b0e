//! The client side of the unix socket.

use std::io;
use std::path::{Path, PathBuf};

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

/// Why a request to an agent failed.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("cannot connect to an agent on {}: {error}; start one with `lb-agent run`, or name its socket", path.display())]
    Connect { path: PathBuf, error: io::Error },
    #[error("cannot read an answer from the agent on {}: {error}; try again", path.display())]
    Http { path: PathBuf, error: hyper::Error },
    #[error("cannot ask the agent on {}: it answers {status}", path.display())]
    Status {
        path: PathBuf,
        status: hyper::StatusCode,
    },
    #[error("cannot decode the answer of the agent on {}: {error}; ask with an lb-agent of the same version", path.display())]
    Json {
        path: PathBuf,
        error: serde_json::Error,
    },
}

/// Requests one of the documents that an agent serves.
pub async fn fetch<T: DeserializeOwned>(socket: &Path, document: &str) -> Result<T, FetchError> {
    send(socket, Method::GET, document, Bytes::new()).await
}

/// Requests an action from an agent.
pub async fn post<T: DeserializeOwned>(
    socket: &Path,
    document: &str,
    what: &impl Serialize,
) -> Result<T, FetchError> {
    let body = serde_json::to_vec(what).map_err(|error| FetchError::Json {
        path: socket.to_owned(),
        error,
    })?;
    send(socket, Method::POST, document, body.into()).await
}

/// Requests [`super::LIVE`] or [`super::READY`] from a process. Returns whether it is so, and the text of the answer.
pub async fn probe(socket: &Path, what: &str) -> Result<(bool, String), FetchError> {
    let (status, body) = exchange(socket, Method::GET, what, Bytes::new()).await?;
    let answer = String::from_utf8_lossy(&body).trim().to_owned();
    Ok((status.is_success(), answer))
}

async fn send<T: DeserializeOwned>(
    socket: &Path,
    method: Method,
    document: &str,
    body: Bytes,
) -> Result<T, FetchError> {
    let path = || socket.to_owned();
    let (status, body) = exchange(socket, method, document, body).await?;
    if !status.is_success() {
        return Err(FetchError::Status {
            path: path(),
            status,
        });
    }
    serde_json::from_slice(&body).map_err(|error| FetchError::Json {
        path: path(),
        error,
    })
}

/// Sends a request, and returns the status and the body of the answer.
async fn exchange(
    socket: &Path,
    method: Method,
    document: &str,
    body: Bytes,
) -> Result<(StatusCode, Bytes), FetchError> {
    let path = || socket.to_owned();
    let stream = UnixStream::connect(socket)
        .await
        .map_err(|error| FetchError::Connect {
            path: path(),
            error,
        })?;
    let http = |error| FetchError::Http {
        path: path(),
        error,
    };
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(http)?;
    tokio::spawn(connection);
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = method;
    *request.uri_mut() = document.parse().unwrap_or_default();
    let headers = request.headers_mut();
    headers.insert(header::HOST, HeaderValue::from_static("localhost"));
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    let response = sender.send_request(request).await.map_err(http)?;
    let status = response.status();
    let body = response.into_body().collect().await.map_err(http)?;
    Ok((status, body.to_bytes()))
}
