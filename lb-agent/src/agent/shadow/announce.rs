//! The log event of a Service's first difference.

use super::records::{Difference, PortId};

pub fn log_difference(port: &PortId, of: &Difference) {
    tracing::warn!(
        event = "shadow.difference",
        namespace = &*port.namespace,
        service = &*port.name,
        port = &*port.port,
        protocol = %port.protocol,
        kind = of.kind.word(),
        client = %of.client,
        frontend = %of.frontend,
        endpoint = %of.endpoint,
        backends = ?of.backends,
        "a Service's connection went elsewhere than it would have with this agent, for the first time",
    );
}
