//! Notes what kube keeps to itself: when the API server last said anything about a kind of object, bookmarks too, for a watch
//! that has gone silent looks just like a quiet cluster otherwise; and from which revision a watch goes on.

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
        if let Some(revision) = request.uri().query().and_then(revision_of) {
            self.health.asks_from(revision);
        }
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

/// The revision that a query names.
fn revision_of(query: &str) -> Option<u64> {
    let mut words = query.split('&');
    words.find_map(|word| word.strip_prefix("resourceVersion=")?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::revision_of;

    #[test]
    fn the_revision_that_a_watch_goes_on_from_is_in_its_query() {
        assert_eq!(revision_of("watch=true&resourceVersion=4711"), Some(4711));
        assert_eq!(
            revision_of("resourceVersion=&resourceVersionMatch=NotOlderThan"),
            None
        );
    }
}
