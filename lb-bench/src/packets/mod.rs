//! `bench packets`: what a machine outside waits for at a NodePort, with each load balancer and with plain forwarding.
//!
//! Every contender has a client, a node and a server of its own, connected by veth pairs. One thread is client and server of all of
//! them, so that no other thread has to wake up. Every contender has a turn in every round.

mod exchange;
mod miss;
mod ours;
mod report;
mod router;

use anyhow::Result;
use lb_testbed::Sandbox;

use self::exchange::{Exchange, Turn};
use self::ours::Ours;
use self::report::{Figures, IPTABLES, NFTABLES, OURS, PLAIN, PacketRow};
use self::router::{Router, Target};
use crate::Options;
use crate::rules::Mode;
use crate::services::ServiceKind;

fn sizes(is_quick: bool) -> &'static [usize] {
    if is_quick {
        &[1, 10_000]
    } else {
        &[1, 1_000, 10_000]
    }
}

/// With 10,000 Services it takes longer to load the rules than to measure.
fn kinds(is_quick: bool, services: usize) -> &'static [ServiceKind] {
    if is_quick && services > 1 {
        &[ServiceKind::Tcp]
    } else {
        &[ServiceKind::Tcp, ServiceKind::Udp]
    }
}

fn rounds(is_quick: bool) -> u64 {
    if is_quick { 30 } else { 100 }
}

/// A load balancer, or none, on a router.
struct Contender<'a> {
    name: &'static str,
    router: &'a Router,
    target: Target,
}

pub(crate) fn run(options: &Options, sandbox: &Sandbox) -> Result<()> {
    let has_ours = ours::is_available(options)?;
    if !has_ours {
        eprintln!("bench: this agent has no packet path: only the others are measured");
    }
    let plain = Router::new(sandbox, PLAIN)?;
    let mut figures = Figures::default();
    println!("{}", report::head());
    for &services in sizes(options.quick) {
        for &kind in kinds(options.quick, services) {
            let router = |name| Router::new(sandbox, &format!("{name}-{kind:?}-{services}"));
            let nftables = router(NFTABLES)?;
            nftables.load(sandbox, Mode::Nftables, kind, services)?;
            let iptables = router(IPTABLES)?;
            iptables.load(sandbox, Mode::Iptables, kind, services)?;
            let own = router(OURS)?;
            let ours = has_ours
                .then(|| Ours::start(options, sandbox, &own, kind, services))
                .transpose()?;
            let mut contenders = vec![Contender {
                name: PLAIN,
                router: &plain,
                target: Target::Pod,
            }];
            let balanced = [(OURS, &own), (NFTABLES, &nftables), (IPTABLES, &iptables)];
            contenders.extend(balanced.map(|(name, router)| Contender {
                name,
                router,
                target: Target::NodePort,
            }));
            contenders.retain(|contender| has_ours || contender.name != OURS);
            let exchanges: Vec<Exchange> = Exchange::ALL
                .into_iter()
                .filter(|exchange| exchange.kind() == kind)
                .collect();
            for &exchange in &exchanges {
                let rows = compare(exchange, services, rounds(options.quick), &contenders)?;
                rows.iter()
                    .for_each(|row| println!("{}", report::line(row)));
                figures.exchanges.extend(rows);
            }
            if let Some(ours) = ours {
                let rounds = rounds(options.quick);
                let misses =
                    miss::measure(options, services, rounds, &exchanges, (&ours, &own), &plain)?;
                misses
                    .iter()
                    .for_each(|row| println!("{}", report::miss_line(row)));
                figures.misses.extend(misses);
                ours.end()?;
            }
        }
    }
    println!();
    for verdict in report::verdicts(&figures) {
        println!("{verdict}");
    }
    options.write_json(&figures)
}

/// Each contender has a turn in every round, and each round starts with another contender.
fn compare(
    exchange: Exchange,
    services: usize,
    rounds: u64,
    contenders: &[Contender<'_>],
) -> Result<Vec<PacketRow>> {
    let mut took: Vec<_> = contenders
        .iter()
        .map(|contender| (contender.name, Vec::new()))
        .collect();
    for seed in 0..rounds {
        let turn = Turn {
            exchange,
            services,
            seed,
        };
        let first = usize::try_from(seed)? % contenders.len();
        for index in (0..contenders.len()).map(|turn| (first + turn) % contenders.len()) {
            let contender = &contenders[index];
            took[index]
                .1
                .extend(turn.run(contender.router, contender.target)?);
        }
    }
    Ok(report::rows(exchange, services, took))
}
