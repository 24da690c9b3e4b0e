//! Rounds in which each contender does the same operations, and their medians.

use std::collections::BTreeMap;
use std::ops::Range;

use anyhow::{Context as _, Result};

use super::affinity::AffinityPin;
use super::operation::{Batch, Costs, Operation};
use super::report::HookRow;
use crate::contender::{Contender, Hook};
use crate::pod::BenchPod;

/// Operations of each contender in a round.
const OPERATIONS: usize = 400;

/// The contenders of one load of the programs.
#[derive(Debug)]
pub(super) struct Contenders<'a> {
    pub(super) pod: &'a BenchPod,
    pub(super) empty: &'a Contender,
    pub(super) classic: &'a Contender,
    pub(super) ours: &'a Contender,
    pub(super) affinity: &'a AffinityPin,
}

/// One operation at one number of Services, with the samples so far.
#[derive(Debug)]
pub(super) struct Comparison {
    operation: Operation,
    services: usize,
    /// A random Service each time.
    spread: bool,
    ours: HookSamples,
    classic: HookSamples,
    empty: HookSamples,
}

#[derive(Clone, Copy, Debug)]
enum Role {
    Ours,
    Classic,
    Empty,
}

impl Role {
    const ALL: [Self; 3] = [Self::Ours, Self::Classic, Self::Empty];
}

impl Comparison {
    pub(super) fn new(operation: Operation, services: usize, spread: bool) -> Self {
        Self {
            operation,
            services,
            spread,
            ours: HookSamples::default(),
            classic: HookSamples::default(),
            empty: HookSamples::default(),
        }
    }

    /// A round for each seed.
    pub(super) fn run(&mut self, contenders: &Contenders<'_>, seeds: Range<u64>) -> Result<()> {
        for seed in seeds {
            // Each round starts with another contender.
            let first = usize::try_from(seed)? % Role::ALL.len();
            for turn in 0..Role::ALL.len() {
                self.turn(
                    Role::ALL[(first + turn) % Role::ALL.len()],
                    contenders,
                    seed,
                )?;
            }
        }
        Ok(())
    }

    fn turn(&mut self, role: Role, contenders: &Contenders<'_>, seed: u64) -> Result<()> {
        let batch = Batch {
            operation: self.operation,
            services: self.services,
            spread: self.spread,
            operations: OPERATIONS,
            seed,
        };
        let pod = contenders.pod;
        match role {
            Role::Ours => {
                let affinity = Some(contenders.affinity);
                self.ours
                    .add(batch.run(contenders.ours, pod, affinity, false)?);
            }
            Role::Classic if self.operation.is_classic() => {
                self.classic
                    .add(batch.run(contenders.classic, pod, None, false)?);
            }
            Role::Classic => {}
            Role::Empty => self
                .empty
                .add(batch.run(contenders.empty, pod, None, true)?),
        }
        Ok(())
    }

    /// A row for each hook that the operation runs.
    pub(super) fn rows(&self) -> Result<Vec<HookRow>> {
        let row = |&(hook, case): &(Hook, &'static str)| {
            let floor_ns = self.empty.median(hook);
            let ns = self.ours.median_over(&self.empty, hook);
            Ok(HookRow {
                case,
                services: self.services,
                spread: self.spread,
                ns: round(ns.with_context(|| format!("{case}: our program did not run"))?),
                floor_ns: round(floor_ns.context("the empty program did not run")?),
                reference_ns: self.classic.median_over(&self.empty, hook).map(round),
            })
        };
        self.operation.cases().iter().map(row).collect()
    }
}

/// A contender's figures, one of each round.
#[derive(Debug, Default)]
struct HookSamples(BTreeMap<Hook, Vec<f64>>);

impl HookSamples {
    fn add(&mut self, costs: Costs) {
        for (hook, ns) in costs {
            self.0.entry(hook).or_default().push(ns);
        }
    }

    fn median(&self, hook: Hook) -> Option<f64> {
        median(self.0.get(&hook)?.clone())
    }

    /// The median difference to another contender in the same round, so that a machine that is slower in some rounds does not
    /// matter. None if one of them did not run in every round.
    fn median_over(&self, floor: &Self, hook: Hook) -> Option<f64> {
        let (all, floor) = (self.0.get(&hook)?, floor.0.get(&hook)?);
        if all.len() != floor.len() {
            return None;
        }
        median(
            all.iter()
                .zip(floor)
                .map(|(ns, floor)| ns - floor)
                .collect(),
        )
    }
}

fn median(mut samples: Vec<f64>) -> Option<f64> {
    samples.sort_by(f64::total_cmp);
    samples.get(samples.len() / 2).copied()
}

/// To tenths.
fn round(ns: f64) -> f64 {
    (ns * 10.0).round() / 10.0
}
