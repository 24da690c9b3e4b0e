//! Accepts connections and serves HTTP/1.1 on them until they are closed or cut, or the server stops.

use std::io;
use std::sync::Arc;

use axum::Router;
use axum::response::{IntoResponse, Response};
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::routes;
use super::shared::Shared;

/// A marker in a response: the connection is closed instead.
#[derive(Clone, Copy, Debug)]
pub(super) struct Closed;

impl IntoResponse for Closed {
    fn into_response(self) -> Response {
        let mut response = Response::default();
        response.extensions_mut().insert(self);
        response
    }
}

/// Never returns.
pub(super) async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let router = routes::router(shared.clone());
    loop {
        // The client may have closed before the accept.
        if let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, router.clone(), shared.connection()));
        }
    }
}

async fn serve(stream: TcpStream, router: Router, mut open: watch::Receiver<()>) {
    // Send events at once. Setting the option fails on a closing stream.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let answer = TowerToHyperService::new(router.clone()).call(request);
        async move {
            let Ok(response) = answer.await;
            match response.extensions().get::<Closed>() {
                None => Ok(response),
                Some(Closed) => Err(io::Error::from(io::ErrorKind::ConnectionAborted)),
            }
        }
    });
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        // The client notices errors.
        _ = connection => {}
        _ = open.changed() => {}
    }
}
