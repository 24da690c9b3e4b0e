//! What a running agent says of itself.

use super::Agent;
use crate::serve::{HookStatus, Question, Status};

impl Agent {
    pub(super) fn answer(&self, question: Question) {
        // Whoever asked may be gone.
        match question {
            Question::Status(answer) => drop(answer.send(self.status())),
            Question::Backends(answer) => drop(answer.send(self.engine.backends())),
        }
    }

    fn status(&self) -> Status {
        let (services, endpoint_slices) = self.engine.objects();
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
        let refusals = self.opened.stats.refusals();
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            node_name: self.settings.source.policy.node_name.clone(),
            cgroup: self.opened.keeper.cgroup().path.display().to_string(),
            pin_dir: self.settings.kernel.pin_dir.display().to_string(),
            ready: self.is_ready,
            source: self.source.status(),
            syncs: self.syncs,
            hooks: hooks.collect(),
            drift: self.watch.status(),
            services,
            endpoint_slices,
            service_ports: counts.service_ports,
            frontends: counts.frontends,
            backends: counts.backends,
            resting: counts.resting,
            refused_no_backend: refusals.no_backend,
            refused_unknown_port: refusals.unknown_port,
            refused_unknown_address: refusals.unknown_address,
            socket_termination: self.terminator.status(),
            problems: self
                .engine
                .problems()
                .iter()
                .map(ToString::to_string)
                .collect(),
        }
    }
}
