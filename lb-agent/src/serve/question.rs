//! Questions to the task that owns the tables.

use tokio::sync::oneshot;

use super::api::{HandOver, SourceStatus, Status};
use super::explanation::Explanation;
use super::objects::{BackendStatus, FrontendStatus, ServiceStatus};
use super::page_data::PageData;
use super::selection::Selection;
use super::shadow::ShadowReport;
use super::target::ExplainRequest;

/// A question to the task that owns the tables.
#[derive(Debug)]
pub enum Question {
    Status(oneshot::Sender<Status>),
    /// Update all metrics.
    Metrics(oneshot::Sender<()>),
    Readiness(oneshot::Sender<Readiness>),
    Services(Selection, oneshot::Sender<Vec<ServiceStatus>>),
    Frontends(Selection, oneshot::Sender<Vec<FrontendStatus>>),
    Backends(Selection, oneshot::Sender<Vec<BackendStatus>>),
    /// None: the agent does not run in shadow mode.
    Shadow(oneshot::Sender<Option<ShadowReport>>),
    /// What the status page shows.
    Page(oneshot::Sender<PageData>),
    /// Somebody follows the events from now on.
    FollowEvents(oneshot::Sender<()>),
    Explain(ExplainRequest, oneshot::Sender<Explanation>),
    /// Whether this agent hands over.
    HandOver(HandOver, oneshot::Sender<bool>),
}

/// The readiness of the agent that holds the pin folder.
#[derive(Debug)]
pub struct Readiness {
    /// The contents of the source are in effect.
    pub is_ready: bool,
    pub source: SourceStatus,
}
