//! `bench hooks`: nanoseconds for each run of each hook, less those of an empty program, ours and the classic design's in
//! turn.
//!
//! The kernel's own counters (BPF_ENABLE_STATS) say how long a program ran. A figure is the median over rounds, in each of
//! which all contenders do the same batch of operations, one after the other. Some rounds are with programs that were loaded
//! anew: what a short one takes doubles or halves with where the kernel puts it, for as long as it is there.

mod affinity;
mod race;
mod report;
mod work;

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use aya::sys::{Stats, enable_stats};
use clap::Args;
use lb_testbed::Sandbox;

use self::affinity::AffinityPin;
use self::race::{Race, Racers};
use self::work::Work;
use crate::Common;
use crate::contender::Contender;
use crate::ours::Ours;
use crate::pod::BenchPod;
use crate::reference::{self, Which};
use crate::services::Kind;
use crate::verdict::write_json;

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

    /// With each load of the programs.
    fn rounds(&self) -> u64 {
        if self.quick { 8 } else { 15 }
    }
}

/// How often the programs are loaded.
const LOADS: u64 = 5;

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
        for kind in KINDS {
            let works = Work::ALL.into_iter().filter(|work| work.kind() == kind);
            let mut races: Vec<Race> = works
                .flat_map(|work| [false, true].map(|spread| Race::new(work, services, spread)))
                .collect();
            for load in 0..LOADS {
                let mut classic = Contender::new(sandbox, "classic")?;
                let _classic = reference::classic(&common.reference, services, &mut classic)?;
                let ours = Ours::start(common, sandbox, kind, services)?;
                let affinity = AffinityPin::of(ours.agent());
                let racers = Racers {
                    pod: &pod,
                    empty: &empty,
                    classic: &classic,
                    ours: ours.contender(),
                    affinity: &affinity,
                };
                let seeds = load * options.rounds()..(load + 1) * options.rounds();
                for race in &mut races {
                    race.run(&racers, seeds.clone())?;
                }
                ours.end()?;
            }
            for race in races {
                let measured = race.rows()?;
                measured
                    .iter()
                    .for_each(|row| println!("{}", report::line(row)));
                rows.extend(measured);
            }
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
