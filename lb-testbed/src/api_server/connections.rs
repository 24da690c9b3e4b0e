//! Accepts connections and serves HTTP/1.1 on them, until a connection is closed, cut, or the server ends.

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

/// Put into a response, it has the connection closed instead.
#[derive(Clone, Copy, Debug)]
pub(super) struct Closed;

impl IntoResponse for Closed {
    fn into_response(self) -> Response {
        let mut response = Response::default();
        response.extensions_mut().insert(self);
        response
    }
}

/// Serves for ever.
pub(super) async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let router = routes::router(shared.clone());
    loop {
        // A client that has gone before it was accepted is no reason to end.
        if let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, router.clone(), shared.connection()));
        }
    }
}

async fn serve(stream: TcpStream, router: Router, mut open: watch::Receiver<()>) {
    // Events go out at once. A stream that does not take the option is closing.
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
        // How a connection ends is the client's affair.
        _ = connection => {}
        _ = open.changed() => {}
    }
}
