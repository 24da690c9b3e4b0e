//! `bench hooks`: nanoseconds for each run of each hook, less those of an empty program, ours and the classic design's in
//! turn.
//!
//! The kernel's own counters (BPF_ENABLE_STATS) say how long a program ran. A figure is the median over rounds, in each of
//! which all contenders do the same batch of operations.

mod affinity;
mod report;
mod work;

use std::{collections::BTreeMap, path::PathBuf};

use anyhow::{Context as _, Result};
use aya::sys::{Stats, enable_stats};
use clap::Args;
use lb_testbed::Sandbox;

use self::{
    affinity::AffinityPin,
    report::Row,
    work::{Batch, Work},
};
use crate::{
    Common,
    contender::{Contender, Hook},
    ours::Ours,
    pod::BenchPod,
    reference::{self, Which},
    services::Kind,
    verdict::write_json,
};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// 1 and 10,000 services in about a minute, instead of also 1,000 and 50,000
    #[arg(long)]
    quick: bool,
    /// Also write the figures to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

impl Options {
    fn sizes(&self) -> &'static [usize] {
        if self.quick {
            &[1, 10_000]
        } else {
            &[1, 1_000, 10_000, 50_000]
        }
    }

    fn rounds(&self) -> u64 {
        if self.quick { 10 } else { 25 }
    }
}

/// Operations of each contender in a round.
const OPERATIONS: usize = 400;

const KINDS: [Kind; 4] = [Kind::Tcp, Kind::Udp, Kind::Affinity, Kind::LeastConn];

pub(crate) fn run(options: &Options, common: &Common, sandbox: &Sandbox) -> Result<()> {
    let _measuring = enable_stats(Stats::RunTime)
        .context("the kernel does not count the runs of BPF programs")?;
    let pod = BenchPod::new(sandbox)?;
    let mut empty = Contender::new(sandbox, "empty")?;
    let _empty = reference::attach(&common.reference, Which::Empty, 0, &mut empty)?;
    let mut rows = Vec::new();
    println!("{}", report::head());
    for &services in options.sizes() {
        let mut classic = Contender::new(sandbox, &format!("classic-{services}"))?;
        let _classic = reference::classic(&common.reference, services, &mut classic)?;
        for kind in KINDS {
            let ours = Ours::start(common, sandbox, kind, services)?;
            let affinity = AffinityPin::of(ours.agent());
            let bench = Bench {
                pod: &pod,
                empty: &empty,
                classic: &classic,
                ours: ours.contender(),
                affinity: &affinity,
                services,
                rounds: options.rounds(),
            };
            for work in Work::ALL.into_iter().filter(|work| work.kind() == kind) {
                for spread in [false, true] {
                    let measured = bench.measure(work, spread)?;
                    measured
                        .iter()
                        .for_each(|row| println!("{}", report::line(row)));
                    rows.extend(measured);
                }
            }
            ours.end()?;
        }
    }
    println!();
    for verdict in report::verdicts(&rows) {
        println!("{verdict}");
    }
    if let Some(path) = &options.json {
        write_json(path, &rows)?;
    }
    Ok(())
}

#[derive(Debug)]
struct Bench<'a> {
    pod: &'a BenchPod,
    empty: &'a Contender,
    classic: &'a Contender,
    ours: &'a Contender,
    affinity: &'a AffinityPin,
    services: usize,
    rounds: u64,
}

impl Bench<'_> {
    fn measure(&self, work: Work, spread: bool) -> Result<Vec<Row>> {
        let mut ours = Samples::default();
        let mut classic = Samples::default();
        let mut empty = Samples::default();
        for seed in 0..self.rounds {
            let batch = Batch {
                work,
                services: self.services,
                spread,
                operations: OPERATIONS,
                seed,
            };
            let table = Some(self.affinity);
            ours.add(batch.run(self.ours, self.pod, table, false)?);
            if work.is_classic() {
                classic.add(batch.run(self.classic, self.pod, None, false)?);
            }
            empty.add(batch.run(self.empty, self.pod, None, true)?);
        }
        let row = |&(hook, case): &(Hook, &'static str)| {
            let floor_ns = empty
                .median(hook)
                .context("the empty program did not run")?;
            let over_floor = |ns: f64| round(ns - floor_ns);
            let ns = ours
                .median(hook)
                .with_context(|| format!("{case}: our program did not run"))?;
            Ok(Row {
                case,
                services: self.services,
                spread,
                ns: over_floor(ns),
                floor_ns: round(floor_ns),
                reference_ns: classic.median(hook).map(over_floor),
            })
        };
        work.cases().iter().map(row).collect()
    }
}

/// A contender's figures, one of each round.
#[derive(Debug, Default)]
struct Samples(BTreeMap<Hook, Vec<f64>>);

impl Samples {
    fn add(&mut self, costs: work::Costs) {
        for (hook, ns) in costs {
            self.0.entry(hook).or_default().push(ns);
        }
    }

    fn median(&self, hook: Hook) -> Option<f64> {
        let mut samples = self.0.get(&hook)?.clone();
        samples.sort_by(f64::total_cmp);
        samples.get(samples.len() / 2).copied()
    }
}

/// To tenths.
fn round(ns: f64) -> f64 {
    (ns * 10.0).round() / 10.0
}
