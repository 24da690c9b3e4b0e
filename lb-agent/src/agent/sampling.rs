//! Takes samples of what was counted of Services.

use std::collections::{BTreeMap, HashMap};

use lb_common::ServiceCounters;

use super::engine::Engine;
use super::service_metrics::MetricsPer;
use super::service_samples::{BackendSample, PortName, Samples, ServiceSample};
use super::state::Agent;
use crate::kernel::Maps;

impl Agent {
    /// The samples that the settings ask for.
    pub(super) fn samples(&self) -> Samples {
        let per = self.settings.metrics_per;
        if per == MetricsPer::None {
            return Samples::default();
        }
        let counters = self.counters();
        let mut samples = Samples {
            services: services(&self.engine, &counters),
            backends: Vec::new(),
        };
        if per == MetricsPer::Backend {
            samples.backends = backends(&self.engine);
        }
        samples
    }

    /// What the programs have counted of service ports, by id; empty if that cannot be read.
    pub(super) fn counters(&self) -> HashMap<u32, ServiceCounters> {
        self.opened.counters.all().unwrap_or_else(|error| {
            tracing::warn!(
                event = "metrics.counters_not_readable",
                %error,
                "cannot read the counters of Services: refused and failed connections are missing",
            );
            HashMap::new()
        })
    }

    /// Removes the counters of service ports that are gone: no id is used twice.
    pub(super) fn prune_counters(&mut self) {
        let Ok(all) = self.opened.counters.all() else {
            return;
        };
        for id in all.into_keys() {
            if !self.engine.tables().has_service_port(id)
                && let Err(error) = self.opened.counters.remove(id)
            {
                tracing::debug!(
                    event = "metrics.counters_not_removed",
                    %error,
                    "cannot remove the counters of a service port that is gone",
                );
            }
        }
    }
}

fn services(
    engine: &Engine<Maps>,
    counters: &HashMap<u32, ServiceCounters>,
) -> BTreeMap<PortName, ServiceSample> {
    let mut services: BTreeMap<PortName, ServiceSample> = BTreeMap::new();
    for port in engine.tables().port_counts() {
        let sample = services.entry(PortName::from(port.key)).or_default();
        sample.connections = sample.connections.wrapping_add(port.connections);
        sample.active += port.active;
        sample.backends += port.backends;
        if let Some(counted) = counters.get(&port.id) {
            sample.add(counted);
        }
    }
    services
}

fn backends(engine: &Engine<Maps>) -> Vec<BackendSample> {
    let of = engine.tables().backends().map(|backend| BackendSample {
        port: PortName::from(backend.port),
        address: backend.address,
        connections: backend.connections,
        active: backend.active,
    });
    let mut backends: Vec<BackendSample> = of.collect();
    backends.sort_by(|a, b| (&a.port, a.address).cmp(&(&b.port, b.address)));
    backends
}
