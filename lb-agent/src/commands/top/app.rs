//! The state of the screen: what the agent has answered, and what the user has chosen with keys.

use std::time::Instant;

use super::super::rates::Rates;
use super::ask::{Answer, Subject};
use super::list::List;
use super::open_service::OpenService;
use super::service_row::{ServiceRow, service_rows};
use crate::serve::Selection;

/// What the keys do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Mode {
    #[default]
    Browse,
    /// They write the filter.
    Filter,
    /// They close the help.
    Help,
}

#[derive(Debug)]
pub(super) struct App {
    selection: Selection,
    pub node: Node,
    pub services: List<ServiceRow>,
    /// The Service whose backends are on the screen.
    pub open: Option<OpenService>,
    pub mode: Mode,
    pub is_paused: bool,
    /// Why there is no new answer.
    pub trouble: Option<String>,
    /// When the last answer about all Services arrived.
    answered: Option<Instant>,
    refused: Rates<()>,
}

/// The node, as of the last answer.
#[derive(Clone, Debug, Default)]
pub(super) struct Node {
    pub name: String,
    pub version: String,
    pub is_ready: bool,
    /// Refused calls per second.
    pub refused: Option<f64>,
    pub problems: usize,
}

impl App {
    pub fn new(selection: Selection) -> Self {
        Self {
            selection,
            node: Node::default(),
            services: List::default(),
            open: None,
            mode: Mode::default(),
            is_paused: false,
            trouble: None,
            answered: None,
            refused: Rates::default(),
        }
    }

    /// What to ask the agent about.
    pub fn subject(&self) -> Subject {
        match &self.open {
            None => Subject::Services(self.selection.clone()),
            Some(open) => Subject::Service {
                namespace: open.namespace.clone(),
                name: open.name.clone(),
            },
        }
    }

    /// Takes an answer about [`Self::subject`], or the reason why there is none.
    pub fn take(&mut self, answer: anyhow::Result<Answer>) {
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                self.trouble = Some(format!("{error:#}"));
                return;
            }
        };
        self.trouble = None;
        let status = &answer.status;
        let refused = status.refused_no_backend
            + status.refused_unknown_port
            + status.refused_unknown_address;
        let refused = std::iter::once(((), refused));
        self.node = Node {
            name: status.node_name.clone(),
            version: status.version.clone(),
            is_ready: status.ready,
            refused: self.refused.since_last(answer.at, refused).pop().flatten(),
            problems: status.problems.len(),
        };
        match &mut self.open {
            None => self.take_services(answer),
            Some(open) => open.take(answer),
        }
    }

    fn take_services(&mut self, answer: Answer) {
        let last = self.answered.replace(answer.at);
        let passed = last.map(|last| answer.at.saturating_duration_since(last));
        let rows = service_rows(self.services.rows(), answer.services, passed);
        self.services.set_rows(rows);
    }

    /// Shows the backends of the chosen Service. Returns whether there is one.
    pub(super) fn open_chosen(&mut self) -> bool {
        let Some(chosen) = self.services.chosen() else {
            return false;
        };
        self.open = Some(OpenService::new(chosen.clone(), self.answered));
        self.is_paused = false;
        true
    }

    /// Shows the Services again. Returns whether a Service was open.
    pub(super) fn close(&mut self) -> bool {
        let was_open = self.open.take().is_some();
        self.is_paused &= !was_open;
        was_open
    }
}
