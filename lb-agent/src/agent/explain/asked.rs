//! What is asked about a service port.

use crate::policy::explain::Selection;
use crate::policy::{Problem, ServicePort};
use crate::serve::{ExplainRequest, ExplainedClient};

/// A service port that is explained, for a client.
pub(super) struct Asked<'a> {
    pub(super) request: &'a ExplainRequest,
    pub(super) port: &'a ServicePort,
    pub(super) selections: &'a [Selection<'a>],
    /// Why the tables could not take it.
    pub(super) refusal: Option<&'a Problem>,
    pub(super) clients: &'a [ExplainedClient],
}
