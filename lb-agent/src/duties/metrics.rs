//! How often the node was asked about its health, and how many UDP flows were deleted.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// Metrics of the duties. Clones share their values.
#[derive(Clone, Debug, Default)]
pub struct DutyMetrics {
    answers: Family<AnswerLabels, Counter>,
    /// The same by kube-proxy's names.
    healthz: Family<CodeLabel, Counter>,
    livez: Family<CodeLabel, Counter>,
    flows_deleted: Counter,
    flow_failures: Counter,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AnswerLabels {
    path: &'static str,
    code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CodeLabel {
    code: u16,
}

impl DutyMetrics {
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "healthz_answers",
            "Answers on the address of --healthz",
            self.answers.clone(),
        );
        registry.register(
            "udp_flows_deleted",
            "Conntrack entries of UDP deleted because their endpoint had stopped serving",
            self.flows_deleted.clone(),
        );
        registry.register(
            "udp_flow_deletion_failures",
            "Searches for such conntrack entries that failed",
            self.flow_failures.clone(),
        );
    }

    /// Registers the answers by kube-proxy's names, without its prefix (pkg/proxy/metrics/metrics.go).
    pub fn register_for_kube_proxy(&self, registry: &mut Registry) {
        registry.register("proxy_healthz", "Answers on /healthz", self.healthz.clone());
        registry.register("proxy_livez", "Answers on /livez", self.livez.clone());
    }

    /// Counts an answer of the server of `--healthz`.
    pub fn answered(&self, path: &'static str, code: u16) {
        let labels = AnswerLabels { path, code };
        self.answers.get_or_create(&labels).inc();
        let by_code = match path {
            "/healthz" => &self.healthz,
            "/livez" => &self.livez,
            _ => return,
        };
        by_code.get_or_create(&CodeLabel { code }).inc();
    }

    pub(super) fn deleted_flows(&self, count: u64) {
        self.flows_deleted.inc_by(count);
    }

    pub(super) fn failed_to_delete(&self) {
        self.flow_failures.inc();
    }
}
