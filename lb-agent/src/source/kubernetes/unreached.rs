//! Advice for the case that the agent never reached the API server at the address that pods get for it.
//!
//! That address (`KUBERNETES_SERVICE_HOST`) is the ClusterIP of the Service `kubernetes`. On a node without kube-proxy nothing
//! serves it before the agent does, and the agent needs the API server for that.

use std::error::Error;
use std::fmt;
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tower::{BoxError, Layer, Service};

use super::trouble;

/// Adds advice to connect errors, until a connect has succeeded.
#[derive(Clone, Debug)]
pub struct Unreached {
    /// None: the user configured the address, so there is no advice.
    advice: Option<Arc<Advice>>,
}

#[derive(Debug)]
struct Advice {
    host: String,
    was_reached: AtomicBool,
}

impl Unreached {
    /// `host`: the server's host, if it is the address that pods get. None: it is another address.
    pub fn new(host: Option<&str>) -> Self {
        let advice = |host: &str| {
            Arc::new(Advice {
                host: host.to_owned(),
                was_reached: AtomicBool::new(false),
            })
        };
        Self {
            advice: host.map(advice),
        }
    }
}

impl<S> Layer<S> for Unreached {
    type Service = Advised<S>;

    fn layer(&self, inner: S) -> Advised<S> {
        Advised {
            inner,
            advice: self.advice.clone(),
        }
    }
}

/// A client's service, wrapped in [`Unreached`].
#[derive(Clone, Debug)]
pub struct Advised<S> {
    inner: S,
    advice: Option<Arc<Advice>>,
}

impl<S, B> Service<B> for Advised<S>
where
    S: Service<B>,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: B) -> Self::Future {
        let advice = self.advice.clone();
        let response = self.inner.call(request);
        Box::pin(async move {
            match (response.await, advice) {
                (Ok(response), advice) => {
                    if let Some(advice) = advice {
                        advice.was_reached.store(true, Ordering::Relaxed);
                    }
                    Ok(response)
                }
                (Err(error), Some(advice)) => Err(advice.on(error.into())),
                (Err(error), None) => Err(error.into()),
            }
        })
    }
}

impl Advice {
    fn on(&self, error: BoxError) -> BoxError {
        if self.was_reached.load(Ordering::Relaxed) || !is_of_connecting(error.as_ref()) {
            return error;
        }
        Box::new(NotReached {
            why: trouble::chain(error.as_ref()),
            host: self.host.clone(),
        })
    }
}

/// The server is unreachable at the address of a Service.
#[derive(Debug)]
struct NotReached {
    why: String,
    host: String,
}

impl fmt::Display for NotReached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { why, host } = self;
        write!(
            f,
            "{why}: {host}, the API server's address in pods, is a ClusterIP, which nothing serves on a node \
             without kube-proxy until this agent does: set the API server's own address with --api-server"
        )
    }
}

impl Error for NotReached {}

/// Whether a connect failed as it does when nothing translates a Service's address: the packets are lost, or reach a host that
/// does not accept them.
fn is_of_connecting(error: &(dyn Error + 'static)) -> bool {
    let causes = std::iter::successors(Some(error), |&error| error.source());
    let mut system = causes.filter_map(|error| error.downcast_ref::<io::Error>());
    system.any(|error| {
        matches!(
            error.kind(),
            ErrorKind::HostUnreachable
                | ErrorKind::NetworkUnreachable
                | ErrorKind::TimedOut
                | ErrorKind::ConnectionRefused
        )
    })
}

#[cfg(test)]
mod tests {
    use tower::{ServiceExt as _, service_fn};

    use super::*;

    /// Returns the error after an answer, for a server whose address is a Service's or not.
    async fn said(layer: &Unreached, answer: Result<(), ErrorKind>) -> Option<String> {
        let server = service_fn(move |()| async move { answer.map_err(io::Error::from) });
        let result = layer.layer(server).oneshot(()).await;
        result.err().map(|error| error.to_string())
    }

    #[tokio::test]
    async fn an_unserved_server_address_is_explained() {
        let of_service = Unreached::new(Some("10.96.0.1"));
        for kind in [ErrorKind::HostUnreachable, ErrorKind::TimedOut] {
            let said = said(&of_service, Err(kind)).await.unwrap_or_default();
            let why = io::Error::from(kind).to_string();
            for part in [why.as_str(), "10.96.0.1", "--api-server"] {
                assert!(said.contains(part), "{part:?} is not in {said:?}");
            }
        }
        let by_hand = said(&Unreached::new(None), Err(ErrorKind::HostUnreachable)).await;
        assert!(!by_hand.unwrap_or_default().contains("--api-server"));
    }

    #[tokio::test]
    async fn other_errors_and_known_servers_are_not_explained() {
        let layer = Unreached::new(Some("10.96.0.1"));
        let tls = said(&layer, Err(ErrorKind::InvalidData)).await;
        assert!(!tls.unwrap_or_default().contains("--api-server"));
        assert_eq!(said(&layer, Ok(())).await, None);
        let gone = said(&layer, Err(ErrorKind::ConnectionRefused)).await;
        assert!(!gone.unwrap_or_default().contains("--api-server"));
    }
}
