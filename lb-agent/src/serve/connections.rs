//! Serves few connections over TCP at a time, and none for long: anybody who reaches the address may be at the other end.

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

/// More than probes and scrapes need, and far less than the process may have open. Others wait in the kernel.
const AT_ONCE: usize = 64;

/// Whoever connects has something to ask.
const ASKED_WITHIN: Duration = Duration::from_secs(2);

/// From the connect to the last byte of the answer.
const OVER_WITHIN: Duration = Duration::from_secs(20);

/// Answers one request on each connection, until it is closed and those that are open are over.
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
            // Whoever asks for nothing, or does not wait for the answer, needs none.
            let _ = tokio::time::timeout(OVER_WITHIN, connection).await;
            drop(permit);
        });
    }
    drop(listener);
    let all = u32::try_from(AT_ONCE).unwrap_or(u32::MAX);
    let _ = permits.acquire_many(all).await;
}
