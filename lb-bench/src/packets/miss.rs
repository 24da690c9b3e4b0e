//! What the program costs for a packet that is to no frontend: the kernel's own count of its runs and their time.

use anyhow::{Context as _, Result};
use aya::sys::{Stats, enable_stats};
use serde::Serialize;

use super::exchange::{Exchange, Turn};
use super::ours::Ours;
use super::router::{DEVICES, Router, Target};
use crate::contender::Runs;
use crate::statistics::percentile;
use crate::{Options, reference};

/// Nanoseconds for a run, for packets that are forwarded to a pod.
#[derive(Clone, Debug, Serialize)]
pub(super) struct MissRow {
    pub(super) exchange: &'static str,
    pub(super) services: usize,
    pub(super) ours_ns: f64,
    /// A program that does nothing, measured in turn.
    pub(super) empty_ns: f64,
}

impl MissRow {
    /// Without the cost of measuring and of the call.
    pub(super) fn net_ns(&self) -> f64 {
        self.ours_ns - self.empty_ns
    }
}

/// Measures by the exchanges of one kind, in turns with the empty program on another router; none if the kernel does not say
/// which program is on a device.
pub(super) fn measure(
    options: &Options,
    services: usize,
    rounds: u64,
    exchanges: &[Exchange],
    (ours, router): (&Ours, &Router),
    plain: &Router,
) -> Result<Vec<MissRow>> {
    let Some(own) = ours.program(router)? else {
        eprintln!("bench: this kernel does not say which programs are on a device");
        return Ok(Vec::new());
    };
    let _measuring = enable_stats(Stats::RunTime)
        .context("cannot make the kernel count the runs of BPF programs (BPF_ENABLE_STATS)")?;
    let load = || reference::empty_packet(&options.reference, &DEVICES);
    let (_empty, empty) = plain.node().host().enter(load)??;
    let mut rows = Vec::new();
    let has_small_packets = |exchange: &&Exchange| **exchange != Exchange::TcpBulk;
    for &exchange in exchanges.iter().filter(has_small_packets) {
        let [mut ours_ns, mut empty_ns] = [const { Vec::new() }; 2];
        for seed in 0..rounds {
            let turn = Turn {
                exchange,
                services,
                seed,
            };
            ours_ns.extend(nanoseconds(turn, router, own)?);
            empty_ns.extend(nanoseconds(turn, plain, empty)?);
        }
        let [ours_ns, empty_ns] = [ours_ns, empty_ns].map(|mut figures| {
            figures.sort_unstable_by(f64::total_cmp);
            (percentile(&figures, 50) * 10.0).round() / 10.0
        });
        rows.push(MissRow {
            exchange: exchange.name(),
            services,
            ours_ns,
            empty_ns,
        });
    }
    Ok(rows)
}

fn nanoseconds(turn: Turn, router: &Router, program: u32) -> Result<Option<f64>> {
    let before = Runs::of(program)?;
    turn.run(router, Target::Pod)?;
    Ok(Runs::of(program)?.nanoseconds_since(before))
}
