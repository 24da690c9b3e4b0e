//! Rounds in which all contenders do the same, and what comes of them.

use std::collections::BTreeMap;
use std::ops::Range;

use anyhow::{Context as _, Result};

use super::affinity::AffinityPin;
use super::report::Row;
use super::work::{Batch, Costs, Work};
use crate::contender::{Contender, Hook};
use crate::pod::BenchPod;

/// Operations of each contender in a round.
const OPERATIONS: usize = 400;

/// Those that are compared, with programs of one load.
#[derive(Debug)]
pub(super) struct Racers<'a> {
    pub(super) pod: &'a BenchPod,
    pub(super) empty: &'a Contender,
    pub(super) classic: &'a Contender,
    pub(super) ours: &'a Contender,
    pub(super) affinity: &'a AffinityPin,
}

/// One case, with what was measured of it so far.
#[derive(Debug)]
pub(super) struct Race {
    work: Work,
    services: usize,
    /// A random Service each time.
    spread: bool,
    ours: Samples,
    classic: Samples,
    empty: Samples,
}

#[derive(Clone, Copy, Debug)]
enum Who {
    Ours,
    Classic,
    Empty,
}

impl Who {
    const ALL: [Self; 3] = [Self::Ours, Self::Classic, Self::Empty];
}

impl Race {
    pub(super) fn new(work: Work, services: usize, spread: bool) -> Self {
        Self {
            work,
            services,
            spread,
            ours: Samples::default(),
            classic: Samples::default(),
            empty: Samples::default(),
        }
    }

    /// A round for each seed.
    pub(super) fn run(&mut self, racers: &Racers<'_>, seeds: Range<u64>) -> Result<()> {
        for seed in seeds {
            // Another one begins each time.
            let first = usize::try_from(seed)? % Who::ALL.len();
            for turn in 0..Who::ALL.len() {
                self.turn(Who::ALL[(first + turn) % Who::ALL.len()], racers, seed)?;
            }
        }
        Ok(())
    }

    fn turn(&mut self, who: Who, racers: &Racers<'_>, seed: u64) -> Result<()> {
        let batch = Batch {
            work: self.work,
            services: self.services,
            spread: self.spread,
            operations: OPERATIONS,
            seed,
        };
        let pod = racers.pod;
        match who {
            Who::Ours => {
                let affinity = Some(racers.affinity);
                self.ours.add(batch.run(racers.ours, pod, affinity, false)?);
            }
            Who::Classic if self.work.is_classic() => {
                self.classic
                    .add(batch.run(racers.classic, pod, None, false)?);
            }
            Who::Classic => {}
            Who::Empty => self.empty.add(batch.run(racers.empty, pod, None, true)?),
        }
        Ok(())
    }

    /// A row for each hook that has a part in it.
    pub(super) fn rows(&self) -> Result<Vec<Row>> {
        let row = |&(hook, case): &(Hook, &'static str)| {
            let floor_ns = self.empty.median(hook);
            let ns = self.ours.median_over(&self.empty, hook);
            Ok(Row {
                case,
                services: self.services,
                spread: self.spread,
                ns: round(ns.with_context(|| format!("{case}: our program did not run"))?),
                floor_ns: round(floor_ns.context("the empty program did not run")?),
                reference_ns: self.classic.median_over(&self.empty, hook).map(round),
            })
        };
        self.work.cases().iter().map(row).collect()
    }
}

/// A contender's figures, one of each round.
#[derive(Debug, Default)]
struct Samples(BTreeMap<Hook, Vec<f64>>);

impl Samples {
    fn add(&mut self, costs: Costs) {
        for (hook, ns) in costs {
            self.0.entry(hook).or_default().push(ns);
        }
    }

    fn median(&self, hook: Hook) -> Option<f64> {
        median(self.0.get(&hook)?.clone())
    }

    /// The median of what each round was over another contender's in the same round, so that a machine that is slower in
    /// some rounds does not matter. None where either did not run in all of them.
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
