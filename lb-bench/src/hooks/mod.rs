//! `bench hooks`: nanoseconds for each run of each hook, minus those of an empty program, for our programs and those of the
//! classic design in turn.
//!
//! The kernel counts how long a program ran (BPF_ENABLE_STATS). A figure is the median of many rounds. In each round all
//! contenders do the same batch of operations, one after the other. The programs are loaded several times, since the cost of a
//! short program can double with the address at which the kernel places it.

mod affinity;
mod comparison;
mod operation;
mod report;

use anyhow::{Context as _, Result};
use aya::sys::{Stats, enable_stats};
use lb_testbed::Sandbox;

use self::affinity::AffinityPin;
use self::comparison::{Comparison, Contenders};
use self::operation::Operation;
use crate::Options;
use crate::agent_contender::AgentContender;
use crate::contender::Contender;
use crate::pod::BenchPod;
use crate::reference::{self, Design};
use crate::services::ServiceKind;

fn sizes(is_quick: bool) -> &'static [usize] {
    if is_quick {
        &[1, 10_000]
    } else {
        &[1, 1_000, 10_000, 50_000]
    }
}

/// Rounds with each load of the programs.
fn rounds(is_quick: bool) -> u64 {
    if is_quick { 8 } else { 15 }
}

/// How often the programs are loaded.
const LOADS: u64 = 5;

const KINDS: [ServiceKind; 4] = [
    ServiceKind::Tcp,
    ServiceKind::Udp,
    ServiceKind::Affinity,
    ServiceKind::LeastConn,
];

pub(crate) fn run(options: &Options, sandbox: &Sandbox) -> Result<()> {
    let _measuring = enable_stats(Stats::RunTime)
        .context("cannot make the kernel count the runs of BPF programs (BPF_ENABLE_STATS)")?;
    let pod = BenchPod::new(sandbox)?;
    let mut empty = Contender::new(sandbox, "empty")?;
    let _empty = reference::attach(&options.reference, Design::Empty, 0, &mut empty)?;
    let mut rows = Vec::new();
    println!("{}", report::head());
    for &services in sizes(options.quick) {
        for kind in KINDS {
            let operations = Operation::ALL
                .into_iter()
                .filter(|operation| operation.kind() == kind);
            let mut comparisons: Vec<Comparison> = operations
                .flat_map(|operation| {
                    [false, true].map(|spread| Comparison::new(operation, services, spread))
                })
                .collect();
            for load in 0..LOADS {
                let mut classic = Contender::new(sandbox, "classic")?;
                let _classic = reference::classic(&options.reference, services, &mut classic)?;
                let ours = AgentContender::start(options, sandbox, kind, services)?;
                let affinity = AffinityPin::of(ours.agent());
                let contenders = Contenders {
                    pod: &pod,
                    empty: &empty,
                    classic: &classic,
                    ours: ours.contender(),
                    affinity: &affinity,
                };
                let seeds = load * rounds(options.quick)..(load + 1) * rounds(options.quick);
                for comparison in &mut comparisons {
                    comparison.run(&contenders, seeds.clone())?;
                }
                ours.end()?;
            }
            for comparison in comparisons {
                let measured = comparison.rows()?;
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
    options.write_json(&rows)
}
