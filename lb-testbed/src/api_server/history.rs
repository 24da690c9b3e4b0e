//! The latest events in order. Watches continue from here, and lists of an earlier revision are computed from it.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};

use super::kind::Kind;
use super::object::Object;

/// With more events, or more bytes of JSON in them, the history drops its oldest events.
const MOST_EVENTS: usize = 20_000;
const MOST_BYTES: usize = 256 << 20;

/// One change of one object.
#[derive(Debug)]
pub(super) struct HistoryEvent {
    pub(super) revision: u64,
    pub(super) kind: Kind,
    pub(super) before: Option<Arc<Object>>,
    pub(super) after: Option<Arc<Object>>,
    as_deleted: OnceLock<Option<Object>>,
}

impl HistoryEvent {
    pub(super) fn new(
        revision: u64,
        kind: Kind,
        before: Option<Arc<Object>>,
        after: Option<Arc<Object>>,
    ) -> Self {
        Self {
            revision,
            kind,
            before,
            after,
            as_deleted: OnceLock::new(),
        }
    }

    /// The object of a `DELETED` event: its last state, with the event's revision.
    pub(super) fn as_deleted(&self) -> Option<&Object> {
        self.as_deleted
            .get_or_init(|| Some(self.before.as_ref()?.at(self.revision)))
            .as_ref()
    }

    fn size(&self) -> usize {
        [&self.before, &self.after]
            .into_iter()
            .flatten()
            .map(|object| object.size())
            .sum()
    }
}

#[derive(Debug)]
pub(super) struct History {
    events: VecDeque<Arc<HistoryEvent>>,
    /// `events` has all events after this revision.
    begins_after: u64,
    bytes: usize,
}

impl History {
    pub(super) fn beginning_after(revision: u64) -> Self {
        Self {
            events: VecDeque::new(),
            begins_after: revision,
            bytes: 0,
        }
    }

    pub(super) fn push(&mut self, event: HistoryEvent) {
        self.bytes += event.size();
        self.events.push_back(Arc::new(event));
        while MOST_EVENTS < self.events.len() || MOST_BYTES < self.bytes {
            let Some(oldest) = self.events.pop_front() else {
                return;
            };
            self.bytes -= oldest.size();
            self.begins_after = oldest.revision;
        }
    }

    /// The events after `revision`, the oldest first; none if some of them were dropped.
    pub(super) fn since(
        &self,
        revision: u64,
    ) -> Option<impl DoubleEndedIterator<Item = &Arc<HistoryEvent>>> {
        if revision < self.begins_after {
            return None;
        }
        let known = self
            .events
            .partition_point(|event| event.revision <= revision);
        Some(self.events.range(known..))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(revision: u64) -> HistoryEvent {
        HistoryEvent::new(revision, Kind::Node, None, None)
    }

    fn revisions(history: &History, since: u64) -> Option<Vec<u64>> {
        Some(history.since(since)?.map(|event| event.revision).collect())
    }

    #[test]
    fn events_after_a_revision_are_returned() {
        let mut history = History::beginning_after(10);
        for revision in [11, 13] {
            history.push(event(revision));
        }
        assert_eq!(revisions(&history, 9), None);
        assert_eq!(revisions(&history, 10), Some(vec![11, 13]));
        assert_eq!(revisions(&history, 12), Some(vec![13]));
        assert_eq!(revisions(&history, 99), Some(vec![]));
    }

    #[test]
    fn the_oldest_events_are_dropped() {
        let mut history = History::beginning_after(0);
        for revision in 1..=MOST_EVENTS as u64 + 2 {
            history.push(event(revision));
        }
        assert_eq!(revisions(&history, 1), None);
        assert_eq!(
            revisions(&history, 2).map(|found| found.len()),
            Some(MOST_EVENTS)
        );
    }
}
