//! What a running agent reports about itself.

use super::clients::Clients;
use super::explain::{self, ExplainedService};
use super::lists;
use super::packets::PacketPath;
use super::shadow::Shadow;
use super::source::WatchedSource;
use super::state::Agent;
use crate::catalog::Problem;
use crate::metrics::{set_bool, set_number};
use crate::serve::{ExplainRequest, HookStatus, Question, Readiness, Status, TableStatus};
use crate::tables::Usage;

impl Agent {
    /// Returns whether this agent hands over to another one now.
    #[must_use]
    pub(super) fn answer(&mut self, question: Question) -> bool {
        // A list or the metrics of very many Services take megabytes.
        self.has_spare_memory |= !matches!(question, Question::Status(_) | Question::Readiness(_));
        // The client that asked may have disconnected.
        match question {
            Question::Status(answer) => drop(answer.send(self.status())),
            Question::Metrics(answer) => {
                self.update_metrics();
                let _ = answer.send(());
            }
            Question::Readiness(answer) => drop(answer.send(Readiness {
                is_ready: self.is_ready,
                source: self.source.status(),
            })),
            Question::Services(of, answer) => {
                let problems = self.duties.problems();
                let counters = self.counters();
                let _ = answer.send(lists::services(&self.engine, &counters, problems, &of));
            }
            Question::Frontends(of, answer) => {
                let _ = answer.send(lists::frontends(&self.engine, &of));
            }
            Question::Backends(of, answer) => drop(answer.send(lists::backends(&self.engine, &of))),
            Question::Shadow(answer) => {
                let _ = answer.send(self.shadow.as_ref().map(Shadow::report));
            }
            Question::Page(answer) => drop(answer.send(self.page())),
            Question::FollowEvents(answer) => {
                self.feed_events();
                let _ = answer.send(());
            }
            Question::Explain(request, answer) => {
                let client = self.explained_client(&request);
                let explained = explain::explain(&self.engine, self.is_ready, client, &request);
                let _ = answer.send(explained);
            }
            Question::HandOver(wanted, answer) => {
                let is_ours = self.is_asked_for(&wanted);
                let _ = answer.send(is_ours);
                return is_ours;
            }
        }
        false
    }

    /// Whether the client of a request is served.
    fn explained_client(&self, request: &ExplainRequest) -> ExplainedService {
        match (&self.clients, request.network) {
            (None, _) => ExplainedService::Served,
            (Some(_), None) => ExplainedService::Unknown,
            (Some(clients), Some(network)) => clients
                .why_not(network)
                .map_or(ExplainedService::Served, ExplainedService::NotServed),
        }
    }

    fn update_metrics(&self) {
        let metrics = &self.metrics;
        set_bool(&metrics.ready, self.is_ready);
        set_number(&metrics.problems, self.problems().len());
        set_number(&metrics.service_ports_refused, self.engine.refused());
        metrics.catalog.update(self.engine.catalog().counts());
        let usage = self.engine.tables().usage();
        let usage = usage.iter().chain(self.entry_usage.iter().flatten());
        metrics.tables.update(self.engine.counts(), usage);
        metrics.refusals.update(self.opened.stats.refusals());
        if let Some(counters) = PacketPath::counters(&self.engine) {
            metrics.packets.update(counters);
        }
        let errors = self.packets.as_ref().map_or(0, PacketPath::errors);
        set_number(&metrics.packet_path_errors, errors);
        metrics.services.set(self.samples());
        self.terminator.update(&metrics.sockets, &metrics.drains);
        self.outliers
            .update(&metrics.outliers, self.aborter.aborted());
        metrics.drift.update(&self.drift);
        if let Some(clients) = &self.clients {
            metrics.clients.update(clients.counts());
        }
        if let Some(shadow) = &self.shadow {
            shadow.update_metrics(&metrics.shadow);
        }
        if let WatchedSource::Kubernetes(health) = &self.source {
            metrics.watches.update(&health.kinds());
        }
    }

    /// All problems of objects and of the node, sorted.
    fn problems(&self) -> Vec<Problem> {
        let mut problems = self.engine.problems();
        problems.extend(self.duties.problems());
        problems.extend(self.clients.iter().flat_map(Clients::problems));
        problems.sort();
        problems
    }

    pub(super) fn status(&self) -> Status {
        let (services, endpoint_slices) = self.engine.catalog().counts();
        let counts = self.engine.counts();
        let hooks = self.opened.keeper.hooks().iter().map(|hook| {
            let (run_count, run_time_ns) = hook.run_stats();
            HookStatus {
                hook: hook.name.to_owned(),
                program_id: hook.program,
                run_count,
                run_time_ns,
            }
        });
        let usage = self.engine.tables().usage();
        let tables = usage.iter().chain(self.entry_usage.iter().flatten());
        let refusals = self.opened.stats.refusals();
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            node_name: self.settings.policy.node_name.clone(),
            cgroup: self.opened.keeper.cgroup().path.display().to_string(),
            pin_dir: self.settings.kernel.pin_dir.display().to_string(),
            ready: self.is_ready,
            source: self.source.status(),
            syncs: self.syncs,
            hooks: hooks.collect(),
            clients: self.clients.as_ref().map(Clients::status),
            shadow: self.shadow.as_ref().map(Shadow::status),
            packet_path: self.packets.as_ref().map(PacketPath::status),
            drift: self.drift.status(),
            services,
            endpoint_slices,
            service_ports: counts.service_ports,
            frontends: counts.frontends,
            backends: counts.backends,
            resting: counts.quarantined,
            tables: tables.map(table_status).collect(),
            service_ports_refused: self.engine.refused(),
            refused_no_backend: refusals.no_backend,
            refused_unknown_port: refusals.unknown_port,
            refused_unknown_address: refusals.unknown_address,
            socket_termination: self.terminator.status(),
            outlier_detection: self.outliers.status(self.aborter.aborted()),
            problems: self.problems().iter().map(ToString::to_string).collect(),
        }
    }
}

fn table_status(usage: &Usage) -> TableStatus {
    TableStatus {
        table: usage.table.to_owned(),
        used: usage.used,
        capacity: usage.capacity,
    }
}
