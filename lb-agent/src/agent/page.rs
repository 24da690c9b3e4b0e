//! What the status page shows of the agent.

use std::sync::Arc;

use lb_common::service_counters::RoundTrips;

use super::service_samples::{PortName, ServiceSample};
use super::state::Agent;
use crate::serve::{PageData, PageService, page_services};

/// The number of events on the page.
const EVENTS: usize = 100;

impl Agent {
    pub(super) fn page(&self) -> PageData {
        let samples = self.samples();
        let all = samples.services.iter().map(page_service);
        let (services, service_count) = page_services(all.collect());
        let mut events = self.settings.events.recent();
        events.drain(..events.len().saturating_sub(EVENTS));
        PageData {
            status: self.status(),
            services,
            service_count,
            events,
        }
    }
}

fn page_service((port, sample): (&PortName, &ServiceSample)) -> PageService {
    let times = sample.times.as_deref();
    PageService {
        namespace: Arc::clone(&port.namespace),
        name: Arc::clone(&port.name),
        port: Arc::clone(&port.port),
        protocol: port.protocol.name(),
        backends: sample.backends,
        connections: sample.connections,
        active: sample.active,
        refused: sample.refused,
        failed: sample.failed,
        rtt_micros: times.and_then(|times| mean(&times.smoothed)),
    }
}

/// In µs; none if nothing was measured.
fn mean(times: &RoundTrips) -> Option<u64> {
    times.sum.checked_div(times.buckets.iter().sum())
}
