//! The figures as a table and as JSON, and compared with the targets.

use std::time::Duration;

use serde::Serialize;

use super::exchange::Exchange;
use super::miss::MissRow;
use crate::statistics::percentile;
use crate::verdict::verdict;

/// The names of the contenders.
pub(super) const PLAIN: &str = "plain";
pub(super) const OURS: &str = "socklb";
pub(super) const NFTABLES: &str = "nftables";
pub(super) const IPTABLES: &str = "iptables";

/// Nanoseconds that a packet to no frontend may cost.
const MISS_NS: f64 = 60.0;

#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Figures {
    pub(super) exchanges: Vec<PacketRow>,
    pub(super) misses: Vec<MissRow>,
}

/// The times of one contender for one exchange, in microseconds.
#[derive(Clone, Debug, Serialize)]
pub(super) struct PacketRow {
    exchange: &'static str,
    services: usize,
    contender: &'static str,
    p50_us: f64,
    p99_us: f64,
    /// By the median; for bulk MiB/s.
    per_second: f64,
    /// The median divided by that of plain forwarding.
    of_plain: f64,
    /// The median divided by that of kube-proxy's nftables rules.
    of_nftables: f64,
}

/// The rows of all contenders for one exchange, from the times of each.
pub(super) fn rows(
    exchange: Exchange,
    services: usize,
    took: Vec<(&'static str, Vec<Duration>)>,
) -> Vec<PacketRow> {
    let mut rows: Vec<PacketRow> = took
        .into_iter()
        .map(|(contender, took)| row(exchange, services, contender, took))
        .collect();
    let median = |name| {
        let row = rows.iter().find(|row| row.contender == name);
        row.map_or(f64::NAN, |row| row.p50_us)
    };
    let (plain, nftables) = (median(PLAIN), median(NFTABLES));
    for row in &mut rows {
        row.of_plain = rounded(row.p50_us / plain, 1000.0);
        row.of_nftables = rounded(row.p50_us / nftables, 1000.0);
    }
    rows
}

fn row(
    exchange: Exchange,
    services: usize,
    contender: &'static str,
    mut took: Vec<Duration>,
) -> PacketRow {
    took.sort_unstable();
    let at = |percent| {
        let time: Duration = percentile(&took, percent);
        rounded(time.as_secs_f64() * 1e6, 100.0)
    };
    PacketRow {
        exchange: exchange.name(),
        services,
        contender,
        p50_us: at(50),
        p99_us: at(99),
        per_second: rounded(1e6 / at(50), 1.0),
        of_plain: 1.0,
        of_nftables: 1.0,
    }
}

fn rounded(figure: f64, steps: f64) -> f64 {
    (figure * steps).round() / steps
}

pub(super) fn head() -> String {
    format!(
        "{:12} {:>8}  {:9} {:>8} {:>8}  {:>8} {:>8}  {:>9}",
        "exchange", "services", "contender", "of plain", "of nft", "p50 us", "p99 us", "a second"
    )
}

pub(super) fn line(row: &PacketRow) -> String {
    format!(
        "{:12} {:>8}  {:9} {:>8.3} {:>8.3}  {:>8.2} {:>8.2}  {:>9.0}",
        row.exchange,
        row.services,
        row.contender,
        row.of_plain,
        row.of_nftables,
        row.p50_us,
        row.p99_us,
        row.per_second
    )
}

pub(super) fn miss_line(row: &MissRow) -> String {
    format!(
        "{:12} {:>8}  {:9} {:>8.1} ns a packet to no frontend, an empty program {:.1} ns",
        row.exchange, row.services, OURS, row.ours_ns, row.empty_ns
    )
}

/// The targets, and whether they were met.
pub(super) fn verdicts(figures: &Figures) -> Vec<String> {
    let ours = |exchange: Exchange| {
        figures
            .exchanges
            .iter()
            .filter(move |row| row.contender == OURS && row.exchange == exchange.name())
    };
    let mut verdicts = Vec::new();
    if let Some(row) = ours(Exchange::TcpNew).find(|row| row.services == 1) {
        let ratio = row.of_nftables;
        verdicts.push(verdict(
            &format!("a new connection at 1 Service: {ratio:.3} of kube-proxy's nftables"),
            "at most 1.00",
            ratio <= 1.0,
        ));
        // Both as ratios to plain forwarding at the same time, since the two sizes are not measured at the same time.
        if let Some(most) = ours(Exchange::TcpNew).max_by_key(|row| row.services) {
            let ratio = most.of_plain / row.of_plain;
            verdicts.push(verdict(
                &format!(
                    "a new connection at {} Services: {ratio:.3} of one at 1 Service",
                    most.services
                ),
                "at most 1.05",
                ratio <= 1.05,
            ));
        }
    }
    for row in ours(Exchange::TcpRequest) {
        let ratio = row.of_nftables;
        verdicts.push(verdict(
            &format!(
                "a request on an open connection at {} Services: {ratio:.3} of kube-proxy's nftables",
                row.services
            ),
            "at most 1.02",
            ratio <= 1.02,
        ));
    }
    verdicts.extend(figures.misses.iter().map(|row| {
        verdict(
            &format!(
                "a packet to no frontend ({}) at {} Services: {:.1} ns more than an empty program",
                row.exchange,
                row.services,
                row.net_ns()
            ),
            &format!("at most {MISS_NS:.0} ns"),
            row.net_ns() <= MISS_NS,
        )
    }));
    verdicts
}
