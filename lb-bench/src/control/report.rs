//! The figures as a table, and compared with the targets.

use serde::Serialize;

use crate::verdict::verdict;

/// The figures of an agent in one cluster.
#[derive(Clone, Debug, Serialize)]
pub(super) struct ControlRow {
    pub(super) shape: String,
    pub(super) services: usize,
    pub(super) has_packets: bool,
    /// From the agent's start to tables in effect.
    pub(super) ready_ms: f64,
    /// CPU time until then, decoding included.
    pub(super) start_cpu_ms: f64,
    /// CPU time after decoding: catalog, policy, tables.
    pub(super) sync_cpu_ms: f64,
    /// The part of it since the last listed object.
    pub(super) tables_cpu_ms: f64,
    /// From a watch event's arrival to the last store.
    pub(super) event_p50_us: f64,
    pub(super) event_p99_us: f64,
    /// CPU time for each event, including decoding and HTTP.
    pub(super) event_cpu_us: f64,
    /// CPU time for one check of all tables, which the agent does once a minute.
    pub(super) check_cpu_ms: f64,
    pub(super) anonymous_mb: f64,
    pub(super) kernel_mb: f64,
}

pub(super) fn head() -> String {
    format!(
        "{:24} {:>9} {:>9} {:>9} {:>10} {:>9} {:>9} {:>9} {:>8} {:>8} {:>9}",
        "services × endpoints",
        "ready ms",
        "CPU ms",
        "sync ms",
        "tables ms",
        "p50 µs",
        "p99 µs",
        "CPU µs",
        "check ms",
        "anon MB",
        "kernel MB"
    )
}

pub(super) fn line(row: &ControlRow) -> String {
    format!(
        "{:24} {:>9.0} {:>9.0} {:>9.0} {:>10.0} {:>9.0} {:>9.0} {:>9.0} {:>8.1} {:>8.1} {:>9.1}",
        row.shape,
        row.ready_ms,
        row.start_cpu_ms,
        row.sync_cpu_ms,
        row.tables_cpu_ms,
        row.event_p50_us,
        row.event_p99_us,
        row.event_cpu_us,
        row.check_cpu_ms,
        row.anonymous_mb,
        row.kernel_mb
    )
}

/// The targets with 10,000 Services of three endpoints, and whether they were met.
pub(super) fn verdicts(rows: &[ControlRow]) -> Vec<String> {
    let find = |services, has_packets| {
        let mut rows = rows.iter();
        rows.find(|row| row.services == services && row.has_packets == has_packets)
    };
    let Some(most) = find(10_000, false) else {
        return Vec::new();
    };
    let mut lines = vec![
        verdict(
            &format!(
                "first sync after decoding: {:.0} ms of CPU",
                most.sync_cpu_ms
            ),
            "below 150",
            most.sync_cpu_ms < 150.0,
        ),
        verdict(
            &format!("an event, p99: {:.0} µs", most.event_p99_us),
            "below 1000",
            most.event_p99_us < 1_000.0,
        ),
        verdict(
            &format!("anonymous memory: {:.1} MB", most.anonymous_mb),
            "below 40",
            most.anonymous_mb < 40.0,
        ),
    ];
    if let Some(few) = find(100, false) {
        let ratio = most.event_p50_us / few.event_p50_us;
        lines.push(verdict(
            &format!("an event with 10,000 services: {ratio:.2} of one with 100"),
            "at most 1.50",
            ratio <= 1.5,
        ));
    }
    if let Some(packets) = find(10_000, true) {
        let ratio = packets.sync_cpu_ms / most.sync_cpu_ms;
        lines.push(verdict(
            &format!("first sync with the packet path: {ratio:.2} of that without"),
            "at most 1.50",
            ratio <= 1.5,
        ));
        lines.push(verdict(
            &format!("an event with it, p99: {:.0} µs", packets.event_p99_us),
            "below 3000",
            packets.event_p99_us < 3_000.0,
        ));
    }
    lines
}
