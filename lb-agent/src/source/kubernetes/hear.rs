//! Notes when the API server last said anything about a kind of object, bookmarks too, which kube keeps to itself: a
//! watch that has gone silent looks just like a quiet cluster otherwise.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use http_body_util::BodyExt as _;
use http_body_util::combinators::MapFrame;
use hyper::body::{Body, Frame};
use tower::{Layer, Service};

use super::health::Health;
use crate::catalog::Kind;

/// Hears what comes through a client.
#[derive(Clone, Debug)]
pub struct Hearing {
    health: Arc<Health>,
}

impl Hearing {
    pub const fn new(health: Arc<Health>) -> Self {
        Self { health }
    }
}

impl<S> Layer<S> for Hearing {
    type Service = Heard<S>;

    fn layer(&self, inner: S) -> Heard<S> {
        Heard {
            inner,
            health: Arc::clone(&self.health),
        }
    }
}

/// A client's service with [`Hearing`].
#[derive(Debug)]
pub struct Heard<S> {
    inner: S,
    health: Arc<Health>,
}

/// Sees each part of a body.
type Ear<D> = Box<dyn FnMut(Frame<D>) -> Frame<D> + Send>;

impl<S, B, R> Service<Request<B>> for Heard<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
    R: Body,
{
    type Response = Response<MapFrame<R, Ear<R::Data>>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let kind = kind_of(request.uri().path());
        let health = Arc::clone(&self.health);
        let response = self.inner.call(request);
        Box::pin(async move {
            let is_success = |response: &Response<R>| response.status().is_success();
            let response = response.await?;
            let kind = kind.filter(|_| is_success(&response));
            Ok(response.map(|body| {
                let ear: Ear<R::Data> = Box::new(move |frame| {
                    if let Some(kind) = kind {
                        health.heard(kind);
                    }
                    frame
                });
                body.map_frame(ear)
            }))
        })
    }
}

/// The kind whose objects a path lists.
fn kind_of(path: &str) -> Option<Kind> {
    match path.rsplit('/').next()? {
        "services" => Some(Kind::Service),
        "endpointslices" => Some(Kind::EndpointSlice),
        "nodes" => Some(Kind::Node),
        "servicecidrs" => Some(Kind::ServiceCidr),
        _ => None,
    }
}
