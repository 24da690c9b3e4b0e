//! Serves a limited number of TCP connections, each for a limited time, since any client that reaches the address can
//! connect.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::serving::Closed;

/// The limit of open connections: more than probes and scrapes need, and far fewer than the process's limit of files.
/// Further ones wait in the kernel.
const AT_ONCE: usize = 64;

/// The time limit for the header of the request.
const ASKED_WITHIN: Duration = Duration::from_secs(2);

/// From the connect to the last byte of the answer.
const OVER_WITHIN: Duration = Duration::from_secs(20);

/// Answers one request on each connection, until the server is closed and the open connections have ended.
pub async fn serve(mut listener: TcpListener, router: Router, mut closed: Closed) {
    let permits = Arc::new(Semaphore::new(AT_ONCE));
    loop {
        let next = async {
            let permit = Arc::clone(&permits).acquire_owned().await;
            (permit, Listener::accept(&mut listener).await)
        };
        let (permit, (stream, _)) = tokio::select! {
            next = next => next,
            () = &mut closed => break,
        };
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(ASKED_WITHIN)
            .keep_alive(false)
            .serve_connection(
                TokioIo::new(stream),
                TowerToHyperService::new(router.clone()),
            );
        tokio::spawn(async move {
            // A client that sends no request, or does not wait for the answer, needs none.
            let _ = tokio::time::timeout(OVER_WITHIN, connection).await;
            drop(permit);
        });
    }
    drop(listener);
    let all = u32::try_from(AT_ONCE).unwrap_or(u32::MAX);
    let _ = permits.acquire_many(all).await;
}
