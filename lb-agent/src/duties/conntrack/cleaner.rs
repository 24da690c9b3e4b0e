//! The thread that deletes stale UDP flows.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Instant;

use tokio::sync::oneshot;

use super::{Conntrack, ConntrackError, Flow, StaleRule};
use crate::duties::DutyMetrics;

/// Receives the result, once. An error of the receiver itself means that the thread has ended.
pub type CleanerAnswer = oneshot::Receiver<Result<Cleaned, ConntrackError>>;

/// The result of one search.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cleaned {
    /// The number of UDP flows that were looked at.
    pub seen: u64,
    /// The number of deleted ones.
    pub deleted: u64,
}

/// A thread that runs as long as this value exists. It needs CAP_NET_ADMIN.
#[derive(Debug)]
pub struct ConntrackCleaner {
    jobs: Sender<Job>,
}

struct Job {
    rule: StaleRule,
    answer: oneshot::Sender<Result<Cleaned, ConntrackError>>,
}

impl ConntrackCleaner {
    /// Starts the thread, in the network namespace of the caller.
    ///
    /// # Errors
    /// [`ConntrackError::Thread`].
    pub fn start(metrics: DutyMetrics) -> Result<Self, ConntrackError> {
        let (jobs, queue) = channel();
        thread::Builder::new()
            .name("conntrack".to_owned())
            .spawn(move || work(&queue, &metrics))
            .map_err(ConntrackError::Thread)?;
        Ok(Self { jobs })
    }

    /// Requests the deletion of all flows that the rule calls stale. Never waits.
    ///
    /// If several requests wait, the thread follows the last one's rule, once for all of them.
    #[must_use]
    pub fn clean(&self, rule: StaleRule) -> CleanerAnswer {
        let (answer, answers) = oneshot::channel();
        // If the thread has ended, the receiver reports it.
        let _ = self.jobs.send(Job { rule, answer });
        answers
    }
}

fn work(queue: &Receiver<Job>, metrics: &DutyMetrics) {
    let mut conntrack = Conntrack::default();
    while let Ok(mut job) = queue.recv() {
        let mut earlier = Vec::new();
        while let Ok(later) = queue.try_recv() {
            earlier.push(std::mem::replace(&mut job, later).answer);
        }
        let result = clean(&mut conntrack, &job.rule);
        match &result {
            Ok(cleaned) => metrics.deleted_flows(cleaned.deleted),
            Err(_) => {
                metrics.failed_to_delete();
                // The rest of an interrupted answer must not be taken for the next one's.
                conntrack = Conntrack::default();
            }
        }
        // The receivers of the answers may have been dropped.
        for answer in earlier {
            let _ = answer.send(Ok(Cleaned::default()));
        }
        let _ = job.answer.send(result);
    }
}

fn clean(conntrack: &mut Conntrack, rule: &StaleRule) -> Result<Cleaned, ConntrackError> {
    let began = Instant::now();
    let cleaned = try_clean(conntrack, rule)?;
    tracing::debug!(
        event = "conntrack.cleaned",
        seen = cleaned.seen,
        deleted = cleaned.deleted,
        elapsed_seconds = began.elapsed().as_secs_f64(),
        "deleted the UDP flows whose endpoint has stopped serving",
    );
    Ok(cleaned)
}

fn try_clean(conntrack: &mut Conntrack, rule: &StaleRule) -> Result<Cleaned, ConntrackError> {
    let mut cleaned = Cleaned::default();
    for family in rule.families() {
        let mut stale: Vec<Flow> = Vec::new();
        conntrack.list(family, |flow| {
            cleaned.seen += 1;
            if rule.is_stale(&flow) {
                stale.push(flow);
            }
        })?;
        for flow in &stale {
            cleaned.deleted += u64::from(conntrack.delete(flow)?);
        }
    }
    Ok(cleaned)
}
