//! The client's counts, in total and over the last seconds.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

/// Reports in the window: two seconds, so that an edit shows soon.
const WINDOW: usize = 8;

/// The client's report: counts since it started. One line of JSON on its standard output.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Progress {
    /// Answered or failed.
    pub(crate) requests: u64,
    pub(crate) failures: u64,
    pub(crate) last_failure: Option<String>,
    /// By the name in the answer.
    pub(crate) answers: BTreeMap<String, u64>,
    /// Total time of the answered requests.
    pub(crate) answer_micros: u64,
}

impl Progress {
    pub(crate) fn answers_of(&self, pod: &str) -> u64 {
        self.answers.get(pod).copied().unwrap_or(0)
    }

    pub(crate) fn answered(&self) -> u64 {
        self.answers.values().sum()
    }

    /// Mean time of a request in milliseconds, from connect() to the last byte.
    pub(crate) fn mean_millis(&self) -> Option<f64> {
        let answered = self.answered();
        (answered > 0).then(|| self.answer_micros as f64 / answered as f64 / 1000.0)
    }
}

/// The last reports.
#[derive(Debug, Default)]
pub(crate) struct Window {
    reports: VecDeque<Progress>,
}

impl Window {
    pub(crate) fn push(&mut self, report: Progress) {
        if self.reports.len() == WINDOW {
            self.reports.pop_front();
        }
        self.reports.push_back(report);
    }

    pub(crate) fn latest(&self) -> Progress {
        self.reports.back().cloned().unwrap_or_default()
    }

    /// The difference between the oldest report and the latest.
    pub(crate) fn recent(&self) -> Progress {
        let mut recent = self.latest();
        let Some(oldest) = self.reports.front() else {
            return recent;
        };
        recent.requests = recent.requests.saturating_sub(oldest.requests);
        recent.failures = recent.failures.saturating_sub(oldest.failures);
        recent.answer_micros = recent.answer_micros.saturating_sub(oldest.answer_micros);
        for (pod, count) in &mut recent.answers {
            *count = count.saturating_sub(oldest.answers_of(pod));
        }
        recent
    }
}
