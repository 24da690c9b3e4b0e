//! The watch of one kind. It turns kube's events into changes, and survives errors.
//!
//! An error never removes an object. An object is removed only when the server reports its deletion, or lists all objects
//! without it.

use std::collections::{BTreeMap, HashSet};
use std::marker::PhantomData;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{FutureExt as _, Stream, StreamExt as _};
use kube::Api;
use kube::runtime::watcher::{self, Event, watcher};

use super::client::Clients;
use super::decode::{Sent, WatchedKind};
use super::gather::{Gatherer, KindUpdate};
use super::health::Health;
use super::history::HistoryResets;
use super::pace::{Attempts, Failure};
use super::trouble::{self, Remedy};
use super::{version, watch_log};
use crate::catalog::{Change, ObjectId, Problem};

/// The longest pause within a list.
const LIST_WITHIN: Duration = Duration::from_secs(30);
/// The largest number of changes in a batch.
const BATCH: usize = 1_000;
/// The time until the next request for a kind that the server does not have.
const ABSENT_FOR: Duration = Duration::from_secs(300);
/// How often a failed watch is checked for recovery.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// Which of a kind's objects to watch, and how.
#[derive(Clone, Debug, Default)]
pub struct WatchScope {
    pub labels: Option<&'static str>,
    pub fields: Option<String>,
    /// A watch is restarted when the server sends nothing for this long.
    pub silent_within: Duration,
}

/// Watches one kind until the receiver is dropped.
pub struct KindWatch<T> {
    clients: Clients,
    gatherer: Gatherer,
    health: Arc<Health>,
    resets: HistoryResets,
    scope: WatchScope,
    attempts: Attempts,
    /// None until the server has been asked.
    streams: Option<bool>,
    changes: Vec<Change>,
    /// All objects have been listed once, or there are none. The last of them may still be in `changes`.
    has_listed: bool,
    /// The server has this kind: it has listed it once.
    is_there: bool,
    /// A warning about the current trouble has been logged.
    has_warned: bool,
    /// The time at which the first of the changes arrived.
    received: Option<Instant>,
    /// Unreadable objects.
    problems: BTreeMap<ObjectId, Problem>,
    /// The objects that the current list has delivered so far.
    listing: Option<HashSet<ObjectId>>,
    refusals: u32,
    kind: PhantomData<T>,
}

/// The receiver was dropped.
struct ReceiverDropped;

impl<T: WatchedKind> KindWatch<T> {
    pub fn new(
        clients: Clients,
        health: Arc<Health>,
        gatherer: Gatherer,
        resets: HistoryResets,
        scope: WatchScope,
    ) -> Self {
        health.update(T::KIND, |_| ());
        Self {
            attempts: Attempts::new(clients.pace(), T::KIND),
            clients,
            gatherer,
            health,
            resets,
            scope,
            streams: None,
            changes: Vec::new(),
            has_listed: false,
            is_there: false,
            has_warned: false,
            received: None,
            problems: BTreeMap::new(),
            listing: None,
            refusals: 0,
            kind: PhantomData,
        }
    }

    pub async fn run(mut self) {
        while self.watch().await.is_ok() {}
    }

    /// Runs one watch, from its start to its next restart.
    async fn watch(&mut self) -> Result<(), ReceiverDropped> {
        let current = self.clients.current().await;
        if self.streams.is_none() {
            match version::supports_streaming_lists(&current.client, LIST_WITHIN).await {
                Ok(streams) => self.streams = streams,
                Err((failure, error)) => {
                    self.report_trouble(error);
                    return self.wait(failure).await;
                }
            }
        }
        let streams = self.streams.unwrap_or_default();
        let events = watcher(Api::<Sent<T>>::all(current.client), self.config(streams));
        match self.follow(pin!(events), streams).await? {
            Remedy::Renew => {
                if let Err(error) = self.clients.renew(current.number).await {
                    self.report_trouble(error.to_string());
                }
            }
            Remedy::ListInPages => self.streams = Some(false),
            Remedy::Absent => {
                // The kind has no objects, so nothing is missing.
                self.changes.push(Change::Only(T::KIND, HashSet::new()));
                self.record_list();
                self.end_trouble();
                self.send_changes().await?;
                return self.sleep(ABSENT_FOR).await;
            }
            Remedy::GoOn | Remedy::ListAgain => {}
        }
        Ok(())
    }

    fn config(&self, streams: bool) -> watcher::Config {
        let config = watcher::Config {
            label_selector: self.scope.labels.map(str::to_owned),
            field_selector: self.scope.fields.clone(),
            timeout: Some(self.timeout()),
            ..watcher::Config::default()
        };
        if streams {
            config.streaming_lists()
        } else {
            config
        }
    }

    /// How long the server should keep a watch open, in seconds. It is random, so that agents that started together do not
    /// restart their watches together.
    fn timeout(&self) -> u32 {
        let most = u32::try_from(self.scope.silent_within.as_secs()).unwrap_or(u32::MAX);
        fastrand::u32(most - most / 4..=most).max(1)
    }

    /// Follows the events until the watch must be restarted.
    async fn follow<S>(&mut self, mut events: S, streams: bool) -> Result<Remedy, ReceiverDropped>
    where
        S: Stream<Item = watcher::Result<Event<Sent<T>>>> + Unpin,
    {
        self.listing = None;
        self.refusals = 0;
        let mut is_listed = false;
        loop {
            let mut event = if is_listed {
                tokio::select! {
                    event = events.next() => event,
                    Ok(()) = self.resets.changed() => return Ok(Remedy::ListAgain),
                    () = tokio::time::sleep(CHECK_EVERY), if self.is_in_trouble() => {
                        if self.attempts.has_settled() {
                            self.end_trouble();
                        }
                        continue;
                    }
                }
            } else if let Ok(event) = tokio::time::timeout(LIST_WITHIN, events.next()).await {
                event
            } else {
                self.report_trouble("the server does not answer".to_owned());
                self.wait(Failure::Broken).await?;
                // Or the server does not mark the end of a streamed list.
                return Ok(Remedy::ListInPages);
            };
            self.received = self.health.last_data(T::KIND);
            // All available events are passed on together.
            loop {
                match event {
                    None => return Ok(Remedy::ListAgain),
                    Some(Ok(event)) => {
                        is_listed |= matches!(event, Event::InitDone);
                        self.take(event);
                    }
                    Some(Err(error)) => {
                        self.send_changes().await?;
                        match self.handle_error(&error, streams && !is_listed).await? {
                            Remedy::GoOn => {}
                            remedy => return Ok(remedy),
                        }
                    }
                }
                if self.changes.len() >= BATCH {
                    break;
                }
                match events.next().now_or_never() {
                    Some(next) => event = next,
                    None => break,
                }
            }
            self.send_changes().await?;
        }
    }

    fn take(&mut self, event: Event<Sent<T>>) {
        match event {
            Event::Init => self.listing = Some(HashSet::new()),
            Event::InitApply(sent) => {
                if let Some(listing) = &mut self.listing {
                    listing.insert(sent.id());
                }
                self.set(sent);
            }
            Event::InitDone => {
                let listed = self.listing.take().unwrap_or_default();
                self.problems.retain(|id, _| listed.contains(id));
                let names = listed.into_iter().map(|id| id.name).collect();
                self.changes.push(Change::Only(T::KIND, names));
                self.is_there = true;
                self.record_list();
                self.record_event();
            }
            Event::Apply(sent) => {
                self.set(sent);
                self.record_event();
            }
            Event::Delete(sent) => {
                let id = sent.id();
                self.problems.remove(&id);
                self.changes.push(Change::Remove(id));
                self.record_event();
            }
        }
    }

    fn set(&mut self, sent: Sent<T>) {
        let id = sent.id();
        self.changes.push(match sent.into_object() {
            Ok(object) => {
                self.problems.remove(&id);
                Change::Set(object)
            }
            Err(message) => {
                let problem = Problem::of(
                    &id,
                    format!("{message}; what was known of it, if anything, stays"),
                );
                self.problems.insert(id.clone(), problem);
                Change::Unread(id)
            }
        });
    }

    fn record_list(&mut self) {
        self.has_listed = true;
        self.health.update(T::KIND, |of_kind| {
            of_kind.has_listed = true;
            of_kind.lists += 1;
        });
    }

    /// A readable event arrived.
    fn record_event(&mut self) {
        self.refusals = 0;
        let now = Instant::now();
        self.health
            .update(T::KIND, |of_kind| of_kind.event = Some(now));
        self.end_trouble();
    }

    fn is_in_trouble(&self) -> bool {
        self.health
            .update(T::KIND, |of_kind| of_kind.trouble.is_some())
    }

    fn end_trouble(&mut self) {
        let trouble = self
            .health
            .update(T::KIND, |of_kind| of_kind.trouble.take());
        let has_warned = std::mem::take(&mut self.has_warned);
        if let Some((since, _)) = trouble.filter(|_| has_warned) {
            watch_log::recovered(T::KIND, since);
        }
    }

    async fn handle_error(
        &mut self,
        error: &watcher::Error,
        is_streaming: bool,
    ) -> Result<Remedy, ReceiverDropped> {
        if trouble::is_refusal(error) {
            self.refusals += 1;
        }
        let is_optional = T::IS_OPTIONAL && !self.is_there;
        let began = self.attempts.began().into_std();
        let may_be_absent = is_optional && self.health.has_data_of_others(T::KIND, began);
        let remedy = Remedy::of(error, may_be_absent, is_streaming, self.refusals);
        let line = trouble::line(error);
        match remedy {
            Remedy::Absent => watch_log::absent(T::KIND, &line, self.has_listed),
            Remedy::ListInPages => watch_log::lists_in_pages(T::KIND, &line),
            _ => {
                if is_optional && trouble::is_absence(error) {
                    // It counts as trouble only once the server has delivered other kinds.
                    self.record_trouble(line);
                } else {
                    self.report_trouble(line);
                }
                self.wait(trouble::failure(error)).await?;
            }
        }
        Ok(remedy)
    }

    /// Logs a warning about trouble, once until the trouble is over.
    fn report_trouble(&mut self, error: String) {
        let is_again = std::mem::replace(&mut self.has_warned, true);
        watch_log::failed(T::KIND, &error, is_again);
        self.record_trouble(error);
    }

    fn record_trouble(&self, error: String) {
        self.health.update(T::KIND, |of_kind| {
            of_kind.errors += 1;
            let since = of_kind.trouble.as_ref().map(|(since, _)| *since);
            of_kind.trouble = Some((since.unwrap_or_else(Instant::now), error));
        });
    }

    async fn wait(&mut self, failure: Failure) -> Result<(), ReceiverDropped> {
        tokio::select! {
            () = self.attempts.pause(failure) => Ok(()),
            () = self.gatherer.closed() => Err(ReceiverDropped),
        }
    }

    async fn sleep(&self, time: Duration) -> Result<(), ReceiverDropped> {
        tokio::select! {
            () = tokio::time::sleep(time) => Ok(()),
            () = self.gatherer.closed() => Err(ReceiverDropped),
        }
    }

    async fn send_changes(&mut self) -> Result<(), ReceiverDropped> {
        if self.changes.is_empty() {
            return Ok(());
        }
        let update = KindUpdate {
            changes: std::mem::take(&mut self.changes),
            problems: self.problems.values().cloned().collect(),
            has_listed: self.has_listed,
            received: self.received.take(),
        };
        let sent = self.gatherer.send(T::KIND, update).await;
        sent.map_err(|_| ReceiverDropped)
    }
}

impl<T: WatchedKind> std::fmt::Debug for KindWatch<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KindWatch({})", T::KIND)
    }
}
