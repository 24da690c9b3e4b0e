//! What explanations are made from.

use std::fmt;

use super::super::engine::Engine;
use super::super::refused_ports::RefusedPorts;
use super::contents::Contents;
use crate::catalog::Catalog;
use crate::policy::{Explainer, NodePorts, Policy, Problem, ServicePortKey};
use crate::tables::Backing;

/// What an explanation is made from.
#[derive(Debug)]
pub struct Facts<'a> {
    pub(super) catalog: &'a Catalog,
    pub(super) policy: &'a Policy,
    /// None: the node's addresses are unknown.
    pub(super) node_ports: Option<&'a NodePorts>,
    /// The service ports that the tables could not take; none: there are no tables.
    refused: Option<&'a RefusedPorts>,
    pub(super) tables: Option<&'a dyn Contents>,
    /// What is not known, one sentence each.
    pub(super) notes: Vec<String>,
    /// Why the hooks leave the client's sockets alone, as the rest of a sentence; none: they do not, as far as is known.
    pub(super) unserved: Option<String>,
}

/// Whether the hooks serve the client of an explanation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExplainedService {
    Served,
    /// As the rest of a sentence.
    NotServed(String),
    /// They serve only some clients, and it is not known which one this is.
    Unknown,
}

impl<'a> Facts<'a> {
    /// The objects alone, without an agent.
    #[must_use]
    pub fn of_objects(catalog: &'a Catalog, policy: &'a Policy) -> Self {
        const NOTE: &str = "From the objects alone: the node's addresses, the settings of its agent and the tables are unknown.";
        Self {
            catalog,
            policy,
            node_ports: None,
            refused: None,
            tables: None,
            notes: vec![NOTE.to_owned()],
            unserved: None,
        }
    }

    /// Those of a running agent.
    ///
    /// `is_ready`: the contents of the source are in effect.
    pub(super) fn of_agent<B: Backing + fmt::Debug>(
        engine: &'a Engine<B>,
        is_ready: bool,
        client: ExplainedService,
    ) -> Self {
        const NOTE: &str = "The agent waits for the first complete list from the source; until then the tables of an earlier agent stay in effect.";
        const SELECTED: &str = "The agent serves only some clients: name one with --pid, or as root with --from, to learn whether it is served.";
        let notes = [
            (!is_ready, NOTE),
            (client == ExplainedService::Unknown, SELECTED),
        ];
        Self {
            catalog: engine.catalog(),
            policy: engine.policy(),
            node_ports: Some(engine.node_ports()),
            refused: Some(engine.refused_ports()),
            tables: Some(engine),
            notes: notes
                .into_iter()
                .filter(|(holds, _)| *holds)
                .map(|(_, note)| note.to_owned())
                .collect(),
            unserved: match client {
                ExplainedService::NotServed(why) => Some(why),
                ExplainedService::Served | ExplainedService::Unknown => None,
            },
        }
    }

    pub(super) fn explainer(&self) -> Explainer<'a> {
        self.policy.explainer(self.catalog)
    }

    /// Why the tables could not take a service port.
    pub(super) fn refusal(&self, key: &ServicePortKey) -> Option<Problem> {
        self.refused?.problem_of(key)
    }
}
