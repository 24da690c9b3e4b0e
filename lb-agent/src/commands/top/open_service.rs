//! The Service whose backends are on the screen.

use super::super::backends::BackendKey;
use super::super::rates::Rates;
use super::ask::Answer;
use super::backend_row::{BackendRow, backend_rows};
use super::list::List;
use super::service_row::ServiceRow;

#[derive(Debug)]
pub(super) struct OpenService {
    pub namespace: String,
    pub name: String,
    /// As of the last answer; none if the agent does not balance it any more.
    pub row: Option<ServiceRow>,
    pub backends: List<BackendRow>,
    rates: Rates<BackendKey>,
    service_rates: Rates<()>,
}

impl OpenService {
    /// `row`: the row that the user has chosen.
    pub fn new(row: ServiceRow) -> Self {
        Self {
            namespace: row.service.namespace.clone(),
            name: row.service.name.clone(),
            row: Some(row),
            backends: List::default(),
            rates: Rates::default(),
            service_rates: Rates::default(),
        }
    }

    pub fn take(&mut self, answer: Answer) {
        let service = answer.services.into_iter().next();
        let counter = service.iter().map(|service| ((), service.connections));
        let rate = self.service_rates.since_last(answer.at, counter);
        let rate = rate.into_iter().next().flatten();
        self.row = service.map(|service| ServiceRow { service, rate });
        let rows = backend_rows(&mut self.rates, answer.at, answer.backends);
        self.backends.set_rows(rows);
    }
}
