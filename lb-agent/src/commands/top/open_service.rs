//! The Service whose backends are on the screen.

use std::time::Instant;

use super::super::backends::BackendKey;
use super::super::rates::Rates;
use super::ask::Answer;
use super::backend_row::{BackendRow, backend_rows};
use super::list::List;
use super::service_row::{ServiceRow, service_rows};

#[derive(Debug)]
pub(super) struct OpenService {
    pub namespace: String,
    pub name: String,
    /// As of the last answer; none if the agent does not balance it any more.
    pub row: Option<ServiceRow>,
    pub backends: List<BackendRow>,
    rates: Rates<BackendKey>,
    /// When the last answer about it arrived.
    answered: Option<Instant>,
}

impl OpenService {
    /// `row`: the row that the user has chosen. `answered`: when it arrived.
    pub fn new(row: ServiceRow, answered: Option<Instant>) -> Self {
        Self {
            namespace: row.service.namespace.to_string(),
            name: row.service.name.to_string(),
            row: Some(row),
            backends: List::default(),
            rates: Rates::default(),
            answered,
        }
    }

    pub fn take(&mut self, answer: Answer) {
        let last = self.answered.replace(answer.at);
        let passed = last.map(|last| answer.at.saturating_duration_since(last));
        let mut rows = service_rows(self.row.as_slice(), answer.services, passed);
        self.row = rows.pop();
        let rows = backend_rows(&mut self.rates, answer.at, answer.backends);
        self.backends.set_rows(rows);
    }
}
