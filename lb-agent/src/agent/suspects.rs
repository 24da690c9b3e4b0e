//! Outlier detection in the main loop: judges backends to which connects have failed, and logs what becomes of them.

use lb_common::event::{Event, kind};

use super::outliers::{Decision, Outcome};
use super::state::Agent;

impl Agent {
    /// Judges the backends to which connects have failed. Leaves the other events.
    pub(super) fn take_suspects(&mut self, events: &mut Vec<Event>) {
        let mut decisions = Vec::new();
        for event in events.extract_if(.., |event| event.kind == kind::SUSPECT) {
            let tables = &mut self.engine.ejections();
            let (port, backend) = (event.service_port, event.backend);
            decisions.extend(self.outliers.suspect(tables, port, backend));
        }
        self.report(decisions);
    }

    /// The work of each second.
    pub(super) fn keep_outliers(&mut self) {
        let decisions = self.outliers.tick(&mut self.engine.ejections());
        self.report(decisions);
    }

    fn report(&mut self, decisions: Vec<Decision>) {
        for decision in decisions {
            let key = self.service_port(decision.service_port).cloned();
            let name = |of: fn(&crate::policy::ServicePortKey) -> String| key.as_ref().map(of);
            let (namespace, service, port) = (
                name(|key| key.namespace.to_string()),
                name(|key| key.name.to_string()),
                name(|key| key.port.to_string()),
            );
            let backend = decision.address;
            if let Outcome::Ejected { .. } | Outcome::TrialFailed { .. } = decision.outcome {
                self.aborter.ejected(decision.backend);
            }
            match decision.outcome {
                Outcome::Ejected { failures, lasts } => tracing::warn!(
                    event = "backend.ejected",
                    namespace,
                    service,
                    port,
                    %backend,
                    failures,
                    seconds = lasts.as_secs(),
                    "connects to a backend failed in a row: it gets no new connection for a time",
                ),
                Outcome::TrialFailed { lasts } => tracing::info!(
                    event = "backend.trial_failed",
                    namespace,
                    service,
                    port,
                    %backend,
                    seconds = lasts.as_secs(),
                    "the connect that tried an ejected backend failed: it stays ejected",
                ),
                Outcome::Readmitted(why) => tracing::info!(
                    event = "backend.readmitted",
                    namespace,
                    service,
                    port,
                    %backend,
                    reason = why.word(),
                    "an ejected backend gets connections again",
                ),
            }
        }
    }
}
