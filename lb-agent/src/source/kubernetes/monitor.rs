//! Records data that kube does not expose: the time at which the API server last sent anything about a kind of object,
//! bookmarks included, and the revision from which a watch continues. Without the time a watch that has gone silent looks like
//! a quiet cluster. The monitor also reports the server's answers to [`Pace`]. It ends an answer that grows without end, and a
//! wait for an answer that never starts.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{HeaderMap, Request, Response};
use hyper::body::{Body, Bytes, Frame, SizeHint};
use tower::{BoxError, Layer, Service};

use super::health::Health;
use super::pace::Pace;
use crate::catalog::Kind;

/// A layer that monitors the responses that a client receives.
#[derive(Clone, Debug)]
pub struct MonitorLayer {
    health: Arc<Health>,
    pace: Arc<Pace>,
}

impl MonitorLayer {
    pub const fn new(health: Arc<Health>, pace: Arc<Pace>) -> Self {
        Self { health, pace }
    }
}

impl<S> Layer<S> for MonitorLayer {
    type Service = Monitored<S>;

    fn layer(&self, inner: S) -> Monitored<S> {
        Monitored {
            inner,
            health: Arc::clone(&self.health),
            pace: Arc::clone(&self.pace),
        }
    }
}

/// A client's service, wrapped in [`MonitorLayer`].
#[derive(Debug)]
pub struct Monitored<S> {
    inner: S,
    health: Arc<Health>,
    pace: Arc<Pace>,
}

/// The server accepts a watch that continues from a revision at once: it has nothing to look up first.
const ACCEPTED_WITHIN: Duration = Duration::from_secs(15);

/// The server accepted a request, but does not respond.
#[derive(Debug, thiserror::Error)]
#[error("the server does not answer")]
struct Silent;

/// By etcd's default an object has at most 1.5 MiB. kube buffers a line of a watch until the line ends.
const LONGEST_LINE: usize = 16 << 20;

/// A page has 500 objects. kube buffers all of it.
const LONGEST_PAGE: usize = 256 << 20;

impl<S, B, R> Service<Request<B>> for Monitored<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    R: Body<Data = Bytes> + Unpin,
    R::Error: Into<BoxError>,
{
    type Response = Response<MonitoredBody<R>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let kind = kind_of(request.uri().path());
        let query = request.uri().query().unwrap_or_default();
        let is_watch = query.split('&').any(|part| part.starts_with("watch="));
        let revision = revision_of(query);
        if let Some(revision) = revision {
            self.health.record_position(revision);
        }
        let resumes = is_watch && revision.is_some_and(|revision| revision > 0);
        let health = Arc::clone(&self.health);
        let pace = Arc::clone(&self.pace);
        let response = self.inner.call(request);
        Box::pin(async move {
            let response = if resumes {
                tokio::time::timeout(ACCEPTED_WITHIN, response)
                    .await
                    .map_err(|_| Silent)?
            } else {
                response.await
            };
            let response = response.map_err(Into::into)?;
            let is_success = response.status().is_success();
            match kind {
                Some(kind) if is_success => pace.record_success(kind, is_watch),
                Some(kind) => pace.record_refusal(kind, retry_after(response.headers())),
                None => {}
            }
            let kind = kind.filter(|_| is_success);
            Ok(response.map(|body| MonitoredBody {
                body,
                kind,
                health,
                is_watch,
                length: 0,
            }))
        })
    }
}

/// A body that is monitored and limited in size.
#[derive(Debug)]
pub struct MonitoredBody<R> {
    body: R,
    kind: Option<Kind>,
    health: Arc<Health>,
    is_watch: bool,
    /// In bytes: the length of the current line of a watch, else of the whole body.
    length: usize,
}

impl<R> Body for MonitoredBody<R>
where
    R: Body<Data = Bytes> + Unpin,
    R::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        Poll::Ready(frame.map(|frame| {
            let frame = frame.map_err(Into::into)?;
            if let Some(kind) = self.kind {
                self.health.record_data(kind);
            }
            if let Some(data) = frame.data_ref() {
                self.count(data)?;
            }
            Ok(frame)
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<R> MonitoredBody<R> {
    fn count(&mut self, data: &[u8]) -> Result<(), BoxError> {
        let last = data.iter().rposition(|&byte| byte == b'\n');
        match last.filter(|_| self.is_watch) {
            Some(end) => self.length = data.len() - end - 1,
            None => self.length += data.len(),
        }
        let most = if self.is_watch {
            LONGEST_LINE
        } else {
            LONGEST_PAGE
        };
        if most < self.length {
            return Err(format!("an answer that goes on and on: {} MiB", most >> 20).into());
        }
        Ok(())
    }
}

/// Kubernetes uses only one of the two forms of `Retry-After`: seconds.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?;
    value.trim().parse().ok().map(Duration::from_secs)
}

/// Returns the kind whose objects a path lists.
fn kind_of(path: &str) -> Option<Kind> {
    match path.rsplit('/').next()? {
        "services" => Some(Kind::Service),
        "endpointslices" => Some(Kind::EndpointSlice),
        "nodes" => Some(Kind::Node),
        "servicecidrs" => Some(Kind::ServiceCidr),
        "pods" => Some(Kind::Pod),
        "namespaces" => Some(Kind::Namespace),
        _ => None,
    }
}

/// Returns the revision in a query.
fn revision_of(query: &str) -> Option<u64> {
    let mut words = query.split('&');
    words.find_map(|word| word.strip_prefix("resourceVersion=")?.parse().ok())
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt as _, StreamBody};
    use tower::{Layer as _, Service as _};

    use super::*;

    const PIECE: usize = 1 << 20;

    /// Returns how much of an answer in that many pieces is accepted.
    async fn taken(uri: &str, piece: &'static [u8], pieces: usize) -> (usize, bool) {
        let health = Arc::new(Health::new(String::new()));
        let monitor = MonitorLayer::new(health, Arc::new(Pace::new()));
        let mut service = monitor.layer(tower::service_fn(move |_: Request<()>| async move {
            let piece = Bytes::from_static(piece);
            let pieces =
                std::iter::repeat_n(piece, pieces).map(|p| Ok::<_, BoxError>(Frame::data(p)));
            Ok::<_, BoxError>(Response::new(StreamBody::new(futures_util::stream::iter(
                pieces,
            ))))
        }));
        let request = Request::get(uri).body(()).expect("a request");
        let mut body = service.call(request).await.expect("an answer").into_body();
        let mut taken = 0;
        loop {
            match body.frame().await {
                Some(Ok(frame)) => taken += frame.data_ref().map_or(0, Bytes::len),
                Some(Err(_)) => return (taken, false),
                None => return (taken, true),
            }
        }
    }

    #[tokio::test]
    async fn an_endless_line_is_not_buffered() {
        let mut line = vec![b'x'; PIECE];
        line[PIECE / 2] = b'\n';
        let line: &[u8] = line.leak();
        let no_line: &[u8] = vec![b'x'; PIECE].leak();
        let watch = "/api/v1/services?a=b&watch=true";
        assert_eq!(taken(watch, no_line, 40).await, (16 * PIECE, false));
        // Many lines, or a long list, are not too much.
        assert_eq!(taken(watch, line, 40).await, (40 * PIECE, true));
        let list = "/api/v1/services?limit=500";
        assert_eq!(taken(list, no_line, 40).await, (40 * PIECE, true));
        assert_eq!(taken(list, no_line, 300).await, (256 * PIECE, false));
    }

    #[test]
    fn the_resource_version_is_read_from_the_query_of_a_watch() {
        assert_eq!(revision_of("watch=true&resourceVersion=4711"), Some(4711));
        assert_eq!(
            revision_of("resourceVersion=&resourceVersionMatch=NotOlderThan"),
            None
        );
    }
}
