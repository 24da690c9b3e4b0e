//! Watches: an endless body with a line of JSON for each event that the client selects.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use std::{future, vec};

use axum::body::{Body, Bytes};
use futures_util::stream;
use serde_json::json;
use tokio::sync::broadcast::error::TryRecvError;
use tokio::sync::{broadcast, watch};
use tokio::time::{Instant, Interval, interval_at, sleep_until};

use super::faults::Disturbance;
use super::kind::Kind;
use super::line;
use super::object::Object;
use super::query::{WatchFrom, WatchQuery};
use super::refusal::Refusal;
use super::selector::Selector;
use super::shared::{OpenWatch, Shared};

/// Events in one chunk of the body, which are read under one lock.
const AT_ONCE: usize = 512;

/// Annotation of the bookmark that marks the end of the initial objects.
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

struct Watcher {
    shared: Arc<Shared>,
    kind: Kind,
    selector: Selector,
    /// Initial objects that are not sent yet.
    initial: vec::IntoIter<Arc<Object>>,
    marks_end: bool,
    /// The client has received everything up to this revision.
    position: u64,
    changes: watch::Receiver<()>,
    disturbances: broadcast::Receiver<(Option<Kind>, Disturbance)>,
    disturbance: Option<Disturbance>,
    bookmarks: Option<Interval>,
    ends_at: Option<Instant>,
    is_over: bool,
    _open: OpenWatch,
}

/// The body of a watch, which begins with the disturbance, if there is one.
pub(super) fn open(
    shared: &Arc<Shared>,
    kind: Kind,
    query: WatchQuery,
    disturbance: Option<Disturbance>,
) -> Result<Body, Refusal> {
    let open = shared.count_watch(kind);
    // Subscribed before the state is read, so that no change is lost in between.
    let (changes, disturbances) = (shared.changes(), shared.disturbances());
    let state = shared.state();
    let current = state.store.revision();
    let (position, initial, marks_end) = match query.from {
        WatchFrom::Revision(revision) => {
            let is_known = state.store.history().since(revision).is_some();
            if !is_known && state.behaviour.gone_as_http {
                return Err(too_old(revision));
            }
            (revision, Vec::new(), false)
        }
        WatchFrom::State { not_older_than, .. } if current < not_older_than => {
            return Err(Refusal::too_large_revision(not_older_than, current));
        }
        WatchFrom::State { marks_end, .. } => {
            let objects = state.store.snapshot(kind, current)?;
            let matching = objects.values().filter(|it| query.selector.matches(it));
            (current, matching.cloned().collect(), marks_end)
        }
    };
    let every = state.behaviour.bookmarks_every;
    drop(state);
    let watcher = Watcher {
        shared: shared.clone(),
        kind,
        selector: query.selector,
        initial: initial.into_iter(),
        marks_end,
        position,
        changes,
        disturbances,
        disturbance,
        bookmarks: query.bookmarks.then(|| interval(every)),
        ends_at: query.timeout.map(|timeout| Instant::now() + timeout),
        is_over: false,
        _open: open,
    };
    Ok(Body::from_stream(stream::unfold(
        watcher,
        |mut watcher| async {
            let chunk = watcher.next().await?;
            Some((Ok::<_, Infallible>(chunk), watcher))
        },
    )))
}

impl Watcher {
    /// The next chunk of the body; none at its end.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if self.is_over {
                return None;
            }
            if let Some(disturbance) = self.disturbance.take() {
                return self.disturb(disturbance).await;
            }
            if let Some(chunk) = self.initial() {
                return Some(chunk);
            }
            let position = self.position;
            let (chunk, is_all) = self.next_events();
            // A disturbance that was ordered before these events comes before them.
            if let Some(disturbance) = self.ordered() {
                self.disturbance = Some(disturbance);
                self.position = position;
                self.is_over = false;
                continue;
            }
            if !chunk.is_empty() {
                return Some(chunk.into());
            }
            if !is_all {
                continue;
            }
            tokio::select! {
                _ = self.changes.changed() => {}
                disturbance = self.disturbances.recv() => {
                    let ours = disturbance.ok().filter(|(kind, _)| self.is_ours(*kind));
                    self.disturbance = ours.map(|(_, disturbance)| disturbance);
                }
                () = tick(self.bookmarks.as_mut()) => {
                    if let Some(bookmark) = self.bookmark() {
                        return Some(bookmark);
                    }
                }
                () = at(self.ends_at) => return None,
            }
        }
    }

    /// Initial objects, in chunks, and the bookmark that marks their end.
    fn initial(&mut self) -> Option<Bytes> {
        let mut chunk = Vec::new();
        for object in self.initial.by_ref().take(AT_ONCE) {
            line::event("ADDED", &object, &mut chunk);
        }
        if self.initial.as_slice().is_empty() && self.marks_end {
            self.marks_end = false;
            let annotations = json!({INITIAL_EVENTS_END: "true"});
            chunk.extend(line::bookmark(self.kind, self.position, annotations));
        }
        (!chunk.is_empty()).then(|| chunk.into())
    }

    /// The next events, and whether there are no more.
    fn next_events(&mut self) -> (Vec<u8>, bool) {
        let state = self.shared.state();
        let Some(events) = state.store.history().since(self.position) else {
            drop(state);
            self.is_over = true;
            return (line::error(&too_old(self.position)), true);
        };
        let events: Vec<_> = events
            .filter(|event| event.kind == self.kind)
            .take(AT_ONCE)
            .cloned()
            .collect();
        let current = state.store.revision();
        drop(state);
        let mut chunk = Vec::new();
        for event in &events {
            if let Some((what, object)) = line::selected_event(&self.selector, event) {
                line::event(what, object, &mut chunk);
            }
        }
        let last = events.last().filter(|_| events.len() == AT_ONCE);
        // A client that asked for a future revision receives nothing until then.
        self.position = last.map_or_else(|| current.max(self.position), |event| event.revision);
        (chunk, last.is_none())
    }

    fn bookmark(&self) -> Option<Bytes> {
        let current = self.shared.state().store.revision();
        (self.position <= current)
            .then(|| line::bookmark(self.kind, self.position, json!({})).into())
    }

    async fn disturb(&mut self, disturbance: Disturbance) -> Option<Bytes> {
        match disturbance {
            Disturbance::Garbage => Some(Bytes::from_static(b"}this is not JSON{\n")),
            Disturbance::HalfLine => {
                self.is_over = true;
                Some(Bytes::from_static(br#"{"type":"ADDED","object":{"met"#))
            }
            Disturbance::HalfOfTheList => {
                self.disturbance = Some(Disturbance::Silence);
                let half = self.initial.len().div_ceil(2);
                let mut chunk = Vec::new();
                for object in self.initial.by_ref().take(half) {
                    line::event("ADDED", &object, &mut chunk);
                }
                Some(chunk.into())
            }
            Disturbance::Silence => future::pending().await,
            Disturbance::Error(code) => {
                self.is_over = true;
                Some(line::error(&Refusal::with_code(code)).into())
            }
            Disturbance::End => None,
        }
    }

    /// The next disturbance for this watch, if there is one.
    fn ordered(&mut self) -> Option<Disturbance> {
        loop {
            match self.disturbances.try_recv() {
                Ok((kind, disturbance)) => {
                    if self.is_ours(kind) {
                        return Some(disturbance);
                    }
                }
                Err(TryRecvError::Lagged(_)) => {}
                Err(TryRecvError::Empty | TryRecvError::Closed) => return None,
            }
        }
    }

    fn is_ours(&self, kind: Option<Kind>) -> bool {
        kind.is_none_or(|kind| kind == self.kind)
    }
}

fn too_old(revision: u64) -> Refusal {
    Refusal::expired(format!("too old resource version: {revision}"))
}

fn interval(every: Duration) -> Interval {
    // An interval of zero panics.
    let every = every.max(Duration::from_millis(1));
    interval_at(Instant::now() + every, every)
}

async fn tick(interval: Option<&mut Interval>) {
    match interval {
        Some(interval) => {
            interval.tick().await;
        }
        None => future::pending().await,
    }
}

async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => future::pending().await,
    }
}
