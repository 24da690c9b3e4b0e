//! Compares the tables with the model, a portion at a time, and repairs the difference.
//!
//! Each portion compares with the model of that moment, so changes between two portions are no difference. A word gets the
//! value back that it had: readers see the right choice sooner, and never another wrong one. Only a run whose former cells
//! are unknown is replaced by a fresh one.

mod counts;
mod elements;
mod report;

use lb_common::Address;

use self::counts::{EntryCounts, check_counts_of, check_counts_of_quarantined};
use self::elements::{
    check_frontends, check_guards, check_source_ranges, prune_copies, remove_unknown,
};
pub use self::report::Drift;
use self::report::Findings;
use super::backing::{Backing, Table};
use super::model::Model;
use super::plan::{Plan, Step, renew_slots, repair_config, repair_port, words_of};
use super::write::write_all;

/// How many words a portion compares. A service port is never split. Some hundred µs.
const PORTION: usize = 2_000;

/// A check of all tables, in progress.
#[derive(Debug, Default)]
pub struct Check {
    stage: Stage,
    findings: Findings,
    counts: EntryCounts,
    plan: Plan,
}

/// The next portion. The order is that of writing.
#[derive(Debug, Default)]
enum Stage {
    #[default]
    Config,
    Entries,
    /// The ids that are left.
    Ports(Vec<u32>),
    /// After this address.
    Guards(Option<Address>),
    /// From this position of FRONTENDS.
    Elements(u32),
    /// From this position of what is kept beside it.
    Copies(u32),
    Done,
}

impl Check {
    /// Compares the next portion and repairs what differs. Returns what the whole check repaired if that was the last one;
    /// the next call starts another check.
    pub fn run(&mut self, backing: &mut impl Backing, model: &mut Model) -> Option<Drift> {
        self.stage = match std::mem::take(&mut self.stage) {
            Stage::Config => {
                self.check_config(backing, model);
                check_source_ranges(model, backing, &mut self.findings);
                Stage::Entries
            }
            Stage::Entries => {
                let counted = self.counts.begin(backing);
                self.findings.note(counted);
                Stage::Ports(model.ports.keys().copied().collect())
            }
            Stage::Ports(ids) => self.check_ports(ids, backing, model),
            Stage::Guards(after) => {
                match check_guards(after, PORTION / 4, model, backing, &mut self.findings) {
                    Some(last) => Stage::Guards(Some(last)),
                    None => Stage::Elements(0),
                }
            }
            Stage::Elements(position) => {
                let next = remove_unknown(position, model, backing, &mut self.findings);
                let next = self.findings.note(next).flatten();
                next.map_or(Stage::Copies(0), Stage::Elements)
            }
            Stage::Copies(position) => prune_copies(position, model, backing, &mut self.findings)
                .map_or(Stage::Done, Stage::Copies),
            Stage::Done => Stage::Done,
        };
        if !matches!(self.stage, Stage::Done) {
            return None;
        }
        self.stage = Stage::default();
        self.counts.end();
        Some(std::mem::take(&mut self.findings).report(model))
    }

    fn check_config(&mut self, backing: &mut impl Backing, model: &mut Model) {
        let words = repair_config(model, backing, &mut self.plan);
        self.findings.add(Table::Config.name(), words);
        let written = write_all(backing, model, &mut self.plan, &mut |_| {});
        self.findings.note(written.map_err(std::io::Error::other));
    }

    fn check_ports(
        &mut self,
        mut ids: Vec<u32>,
        backing: &mut impl Backing,
        model: &mut Model,
    ) -> Stage {
        let mut compared = 0;
        while compared < PORTION
            && let Some(id) = ids.pop()
        {
            compared += model.ports.get(&id).map_or(0, words_of);
            self.check_port(id, backing, model);
            check_counts_of(id, model, backing, &mut self.counts, &mut self.findings);
        }
        if !ids.is_empty() {
            return Stage::Ports(ids);
        }
        check_counts_of_quarantined(model, backing, &mut self.counts, &mut self.findings);
        Stage::Guards(None)
    }

    fn check_port(&mut self, id: u32, backing: &mut impl Backing, model: &mut Model) {
        let before = self.findings.sum();
        let lost = repair_port(model, id, backing, &mut self.plan);
        for table in self.plan.iter().filter_map(Step::table) {
            self.findings.add(table, 1);
        }
        let written = write_all(backing, model, &mut self.plan, &mut |_| {});
        self.findings.note(written.map_err(std::io::Error::other));
        for view in lost {
            let renewed = renew_slots(model, id, &view, &mut self.plan);
            let renewed =
                renewed.and_then(|()| write_all(backing, model, &mut self.plan, &mut |_| {}));
            if self
                .findings
                .note(renewed.map_err(std::io::Error::other))
                .is_some()
            {
                self.findings.add(Table::Slots.name(), 1);
            }
        }
        check_frontends(id, model, backing, &mut self.findings);
        if self.findings.sum() > before {
            self.findings.is_of(id);
        }
    }
}
