//! Checks regularly whether the kernel still contains what the agent gave it. Hooks and pins are checked every second.
//! The tables are checked at the interval of the flag, one portion at a time between other work.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::engine::Engine;
use super::packets::Restored;
use crate::kernel::{Keeper, Kept};
use crate::metrics::{set_total, timestamp};
use crate::serve::DriftStatus;
use crate::tables::{Backing, Check};

/// The pause between two portions of a check, so that other work comes first.
const PAUSE: Duration = Duration::from_millis(3);

/// When to check, the check under way, and the results so far.
#[derive(Debug)]
pub struct DriftWatch {
    every: Duration,
    began: Instant,
    /// When the next portion is due.
    next: Instant,
    check: Check,
    checks: u64,
    last_check: Option<Instant>,
    repairs: BTreeMap<&'static str, u64>,
    /// What the last check of the tables could not read or repair.
    table_errors: Vec<String>,
    /// What the last check of hooks and pins could not restore.
    keep_errors: Vec<String>,
}

impl DriftWatch {
    pub fn new(every: Duration) -> Self {
        let now = Instant::now();
        Self {
            every,
            began: now + every,
            next: now + every,
            check: Check::default(),
            checks: 0,
            last_check: None,
            // Creates each label value, so that the metric exists before the first repair.
            repairs: [
                "FRONTENDS",
                "FILTER",
                "NEAR_FRONTENDS",
                "FRONTEND_LIST",
                "VIEWS",
                "SLOTS",
                "BACKENDS",
                "CONFIG",
                "active",
                "SOURCE_RANGES",
                "NAT",
                "ruleset",
                "devices",
                "hooks",
                "pins",
            ]
            .map(|what| (what, 0))
            .into(),
            table_errors: Vec::new(),
            keep_errors: Vec::new(),
        }
    }

    /// Returns when the next portion of a check is due.
    pub async fn due(&self) {
        tokio::time::sleep_until(self.next.into()).await;
    }

    /// Checks a portion of the tables.
    pub fn check<B: Backing>(&mut self, engine: &mut Engine<B>) {
        let now = Instant::now();
        let Some(drift) = engine.check(&mut self.check) else {
            self.next = now + PAUSE;
            return;
        };
        self.next = now.max(self.began + self.every);
        self.began = self.next;
        self.checks += 1;
        self.last_check = Some(now);
        if !drift.repaired.is_empty() {
            tracing::warn!(
                event = "tables.repaired",
                count = drift.repaired.values().sum::<usize>(),
                repairs = %drift,
                "repaired tables that another program had changed",
            );
        }
        for (what, number) in drift.repaired {
            self.count(what, number);
        }
        if self.table_errors != drift.errors {
            match drift.errors.join("; ") {
                none if none.is_empty() => tracing::info!(
                    event = "tables.check_recovered",
                    "the tables can be checked again",
                ),
                error => tracing::warn!(
                    event = "tables.check_failed",
                    error,
                    "cannot check or repair all tables: trying again",
                ),
            }
            self.table_errors = drift.errors;
        }
    }

    /// Checks hooks and pins.
    pub fn keep(&mut self, keeper: &mut Keeper) {
        let Kept {
            hooks,
            maps,
            is_new_folder,
            errors,
        } = keeper.keep();
        if is_new_folder {
            tracing::warn!(
                event = "pins.folder_restored",
                path = %keeper.folder().display(),
                "created and locked the pin folder again after another program had removed it",
            );
        }
        if maps > 0 {
            tracing::warn!(
                event = "pins.restored",
                count = maps,
                "pinned maps again after another program had removed their pins",
            );
        }
        for (hook, cause) in &hooks {
            tracing::warn!(
                event = "hooks.restored",
                hook,
                cause,
                cgroup = %keeper.cgroup().path.display(),
                "restored a hook that another program had changed",
            );
        }
        self.count("hooks", hooks.len());
        self.count("pins", maps + usize::from(is_new_folder));
        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        if self.keep_errors != errors {
            match errors.join("; ") {
                none if none.is_empty() => tracing::info!(
                    event = "data_path.recovered",
                    "all hooks and pins are in place again",
                ),
                error => tracing::warn!(
                    event = "data_path.incomplete",
                    error,
                    "cannot restore all hooks and pins: trying again",
                ),
            }
            self.keep_errors = errors;
        }
    }

    pub fn status(&self) -> DriftStatus {
        DriftStatus {
            checks: self.checks,
            checked_seconds_ago: self.last_check.map(|at| at.elapsed().as_secs_f64()),
            repairs: self
                .repairs
                .iter()
                .map(|(what, number)| ((*what).to_owned(), *number))
                .collect(),
            trouble: [&self.table_errors[..], &self.keep_errors[..]].concat(),
        }
    }

    /// Counts what was restored of the packet path.
    pub fn count_packets(&mut self, restored: Restored) {
        self.count("devices", restored.devices);
        self.count("ruleset", restored.rules);
        self.count("NAT", restored.elements);
    }

    fn count(&mut self, what: &'static str, number: usize) {
        *self.repairs.entry(what).or_insert(0) += number as u64;
    }
}

/// Metrics of the checks and of the repairs.
#[derive(Debug, Default)]
pub struct DriftMetrics {
    checks: Counter,
    checked: Gauge<f64, AtomicU64>,
    repairs: Family<RepairedLabel, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RepairedLabel {
    table: &'static str,
}

impl DriftMetrics {
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "drift_checks",
            "Times that all tables were read back and compared",
            self.checks.clone(),
        );
        registry.register_with_unit(
            "drift_check_timestamp",
            "Time at which all tables were last read back, since 1970",
            Unit::Seconds,
            self.checked.clone(),
        );
        registry.register(
            "drift_repairs",
            "Words, elements, hooks and pins restored after another program had changed them",
            self.repairs.clone(),
        );
    }

    pub fn update(&self, watch: &DriftWatch) {
        set_total(&self.checks, watch.checks);
        if let Some(at) = watch.last_check {
            self.checked.set(timestamp(at));
        }
        for (&table, &number) in &watch.repairs {
            let label = RepairedLabel { table };
            set_total(&self.repairs.get_or_create(&label), number);
        }
    }
}
