//! What has happened: the agent's own log events, and what the programs report while somebody follows.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventRecord {
    pub time: Timestamp,
    /// One of docs/events.md.
    pub event: String,
    pub level: EventLevel,
    pub message: String,
    pub fields: BTreeMap<String, Value>,
}

/// How much an event matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventLevel {
    Info,
    Warn,
    Error,
}

/// Events that the agent remembers.
const REMEMBERED: usize = 1_000;

/// Events that a follower may be behind before it loses some.
const BEHIND: usize = 2_048;

/// The events of this process. Clones share them.
#[derive(Clone, Debug)]
pub struct EventLog(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    recent: Mutex<VecDeque<Arc<EventRecord>>>,
    followers: broadcast::Sender<Arc<EventRecord>>,
}

impl Default for EventLog {
    fn default() -> Self {
        Self(Arc::new(Shared {
            recent: Mutex::default(),
            followers: broadcast::Sender::new(BEHIND),
        }))
    }
}

impl EventLog {
    /// An event of the agent: it is remembered.
    pub fn add(&self, record: EventRecord) {
        let record = Arc::new(record);
        let mut recent = self.recent_events();
        if recent.len() == REMEMBERED {
            recent.pop_front();
        }
        recent.push_back(Arc::clone(&record));
        // Without a follower there is nobody to tell. The lock is held, so that a new follower gets each event once.
        let _ = self.0.followers.send(record);
    }

    /// An event of a program: only followers see it.
    pub fn pass_on(&self, record: EventRecord) {
        let _ = self.0.followers.send(Arc::new(record));
    }

    #[must_use]
    pub fn has_followers(&self) -> bool {
        self.0.followers.receiver_count() > 0
    }

    /// The remembered events, the oldest first.
    #[must_use]
    pub fn recent(&self) -> Vec<Arc<EventRecord>> {
        self.recent_events().iter().cloned().collect()
    }

    /// The remembered events, and those that come.
    #[must_use]
    pub fn follow(&self) -> Follower {
        let recent = self.recent_events();
        Follower {
            recent: recent.clone(),
            coming: self.0.followers.subscribe(),
        }
    }

    fn recent_events(&self) -> MutexGuard<'_, VecDeque<Arc<EventRecord>>> {
        self.0.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Receives events.
#[derive(Debug)]
pub struct Follower {
    recent: VecDeque<Arc<EventRecord>>,
    coming: broadcast::Receiver<Arc<EventRecord>>,
}

impl Follower {
    /// The number of remembered events that are still to come.
    #[must_use]
    pub fn remembered(&self) -> usize {
        self.recent.len()
    }

    /// The next event; none after the last one of this process. A follower that was too slow gets an event that says how many
    /// it lost.
    pub async fn next(&mut self) -> Option<Arc<EventRecord>> {
        if let Some(record) = self.recent.pop_front() {
            return Some(record);
        }
        match self.coming.recv().await {
            Ok(record) => Some(record),
            Err(RecvError::Lagged(count)) => Some(Arc::new(dropped("slow_reader", count))),
            Err(RecvError::Closed) => None,
        }
    }
}

/// Says that events are missing.
#[must_use]
pub fn dropped(reason: &str, count: u64) -> EventRecord {
    EventRecord {
        time: Timestamp::now(),
        event: "events.dropped".to_owned(),
        level: EventLevel::Warn,
        message: "events are missing here".to_owned(),
        fields: BTreeMap::from([
            ("reason".to_owned(), reason.into()),
            ("count".to_owned(), count.into()),
        ]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(number: u64) -> EventRecord {
        EventRecord {
            time: Timestamp::UNIX_EPOCH,
            event: "a.b".to_owned(),
            level: EventLevel::Info,
            message: String::new(),
            fields: BTreeMap::from([("number".to_owned(), number.into())]),
        }
    }

    #[test]
    fn the_latest_events_are_remembered() {
        let log = EventLog::default();
        let total = REMEMBERED as u64 + 5;
        (0..total).for_each(|number| log.add(event(number)));
        log.pass_on(event(total));
        let recent = log.recent();
        assert_eq!(recent.len(), REMEMBERED);
        assert_eq!(*recent[0], event(5));
        assert_eq!(*recent[REMEMBERED - 1], event(total - 1));
    }

    #[tokio::test]
    async fn a_follower_gets_each_event_once_and_learns_what_it_lost() {
        let log = EventLog::default();
        log.add(event(0));
        assert!(!log.has_followers());
        let mut follower = log.follow();
        assert!(log.has_followers());
        assert_eq!(follower.remembered(), 1);
        log.add(event(1));
        assert_eq!(follower.remembered(), 1);
        log.pass_on(event(2));
        for number in 0..3 {
            let next = follower.next().await.expect("the log exists");
            assert_eq!(*next, event(number));
        }
        let total = BEHIND as u64 + 7;
        (0..total).for_each(|number| log.pass_on(event(number)));
        let next = follower.next().await.expect("the log exists");
        assert_eq!(
            (&*next.event, &next.fields["count"]),
            ("events.dropped", &7.into())
        );
        assert_eq!(*follower.next().await.expect("the log exists"), event(7));
        drop(follower);
        assert!(!log.has_followers());
    }
}
