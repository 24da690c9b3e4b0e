//! The client side of the unix socket.

use std::io;
use std::path::{Path, PathBuf};

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use super::api::REMEMBERED;

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

/// What an answer that goes on says.
#[derive(Debug)]
pub enum Told<T> {
    /// All that is remembered, if anything is. Comes once, before everything else.
    Remembered(Vec<T>),
    New(T),
}

/// Requests lines of JSON, and passes each on to `take` until the agent ends or `take` fails. The remembered ones come together.
///
/// # Errors
/// As [`fetch`], or those of `take`.
pub async fn follow<T: DeserializeOwned>(
    socket: &Path,
    document: &str,
    mut take: impl FnMut(Told<T>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let response = request(socket, Method::GET, document, Bytes::new()).await?;
    // An agent of an earlier version does not say it: then all count as new.
    let number = response.headers().get(REMEMBERED);
    let number = number.and_then(|number| number.to_str().ok()?.parse().ok());
    let mut left: usize = number.unwrap_or_default();
    let mut remembered = Vec::new();
    let mut body = response.into_body();
    let mut rest = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| FetchError::Http {
            path: socket.to_owned(),
            error,
        })?;
        rest.extend_from_slice(frame.data_ref().map_or(&[], |bytes| bytes));
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            let told = decode(socket, &line)?;
            if left == 0 {
                take(Told::New(told))?;
                continue;
            }
            remembered.push(told);
            left -= 1;
            if left == 0 {
                take(Told::Remembered(std::mem::take(&mut remembered)))?;
            }
        }
    }
    Ok(())
}

/// Requests [`super::LIVE`] or [`super::READY`] from a process. Returns whether it is so, and the text of the answer.
pub async fn probe(socket: &Path, what: &str) -> Result<(bool, String), FetchError> {
    let response = exchange(socket, Method::GET, what, Bytes::new()).await?;
    let status = response.status();
    let body = response.into_body().collect().await;
    let body = body.map_err(|error| FetchError::Http {
        path: socket.to_owned(),
        error,
    })?;
    let answer = String::from_utf8_lossy(&body.to_bytes()).trim().to_owned();
    Ok((status.is_success(), answer))
}

async fn send<T: DeserializeOwned>(
    socket: &Path,
    method: Method,
    document: &str,
    body: Bytes,
) -> Result<T, FetchError> {
    let response = request(socket, method, document, body).await?;
    let body = response
        .into_body()
        .collect()
        .await
        .map_err(|error| FetchError::Http {
            path: socket.to_owned(),
            error,
        })?;
    decode(socket, &body.to_bytes())
}

fn decode<T: DeserializeOwned>(socket: &Path, text: &[u8]) -> Result<T, FetchError> {
    serde_json::from_slice(text).map_err(|error| FetchError::Json {
        path: socket.to_owned(),
        error,
    })
}

/// Sends a request, and returns the answer if the agent does what was asked.
async fn request(
    socket: &Path,
    method: Method,
    document: &str,
    body: Bytes,
) -> Result<Response<Incoming>, FetchError> {
    let response = exchange(socket, method, document, body).await?;
    let status = response.status();
    if !status.is_success() {
        return Err(FetchError::Status {
            path: socket.to_owned(),
            status,
        });
    }
    Ok(response)
}

/// Sends a request, and returns the answer.
async fn exchange(
    socket: &Path,
    method: Method,
    document: &str,
    body: Bytes,
) -> Result<Response<Incoming>, FetchError> {
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
    sender.send_request(request).await.map_err(http)
}
