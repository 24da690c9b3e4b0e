//! A running server that can be closed before the process ends.

use std::fmt::Debug;
use std::pin::Pin;
use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// How long clients have to receive their answers.
const ANSWERED_WITHIN: Duration = Duration::from_secs(1);

/// Serves until it is closed, or its runtime ends.
#[derive(Debug)]
pub struct Serving {
    close: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// Completes when the server must close.
pub type Closed = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Serving {
    /// `serve`: must stop accepting connections when `Closed` completes, and return when the open ones have ended.
    pub fn start<F>(serve: impl FnOnce(Closed) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (close, closed) = oneshot::channel();
        let closed = async {
            // Without a sender there is no request to close.
            if closed.await.is_err() {
                std::future::pending().await
            }
        };
        Self {
            close,
            task: tokio::spawn(serve(Box::pin(closed))),
        }
    }

    /// `what`: the name of the server in the log.
    pub fn router<L>(listener: L, router: Router, what: &'static str) -> Self
    where
        L: Listener,
        L::Addr: Debug,
    {
        Self::start(async move |closed| {
            let serve = axum::serve(listener, router).with_graceful_shutdown(closed);
            if let Err(error) = serve.await {
                tracing::error!(
                    event = "serve.ended",
                    socket = what,
                    %error,
                    "a socket is no longer served: restart the agent",
                );
            }
        })
    }

    /// Stops accepting connections, and closes the open ones when they have their answers.
    pub async fn close(mut self) {
        // The server may have ended by itself.
        let _ = self.close.send(());
        if tokio::time::timeout(ANSWERED_WITHIN, &mut self.task)
            .await
            .is_err()
        {
            self.task.abort();
        }
    }
}
