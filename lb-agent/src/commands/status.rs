//! `lb-agent status`: a summary of the running agent.

use std::io::{self, Write};
use std::path::Path;

use super::output::{Output, write_json, write_yaml};
use super::runtime::block_on;
use crate::counted::counted;
use crate::serve::{
    self, DriftStatus, OutlierStatus, ShadowStatus, Status, TableStatus, TerminationStatus,
    WatchStatus,
};

/// Asks the agent that listens on `socket`.
///
/// # Errors
/// No agent listens there, or stdout cannot be written.
pub fn status(socket: &Path, output: Output) -> anyhow::Result<()> {
    let status: Status = block_on(async { Ok(serve::fetch(socket, serve::STATUS).await?) })?;
    let stdout = io::stdout().lock();
    match output {
        Output::Json => write_json(stdout, &status)?,
        Output::Yaml => write_yaml(stdout, &status)?,
        Output::Table => write_table(stdout, &status)?,
    }
    Ok(())
}

fn write_table(mut to: impl Write, status: &Status) -> io::Result<()> {
    let hooks: Vec<&str> = status.hooks.iter().map(|hook| hook.hook.as_str()).collect();
    let lines = [
        ("Version", status.version.clone()),
        ("Node", status.node_name.clone()),
        ("Cgroup", status.cgroup.clone()),
        ("Hooks", hooks.join(", ")),
        ("Pods", pods(status)),
        ("Packet path", packet_path(status)),
        ("Pinned in", status.pin_dir.clone()),
        (
            "Source",
            format!("{} {}", status.source.kind, status.source.from),
        ),
        (
            "Tables",
            if status.ready {
                "up to date with the source"
            } else {
                "waiting for the first complete list from the source; until then the tables of an earlier agent stay in effect"
            }
            .to_owned(),
        ),
        ("Services", status.services.to_string()),
        ("Endpoint slices", status.endpoint_slices.to_string()),
        ("Service ports", status.service_ports.to_string()),
        ("Frontends", status.frontends.to_string()),
        ("Backends", status.backends.to_string()),
        (
            "Refused",
            format!(
                "{} without a backend, {} to an unknown port, {} to an unknown address",
                counted(status.refused_no_backend, "call"),
                status.refused_unknown_port,
                status.refused_unknown_address
            ),
        ),
        ("Fullest table", fullest(status)),
        ("Ended sockets", ended(&status.socket_termination)),
        ("Outliers", outliers(&status.outlier_detection)),
        ("Repaired", drift_line(&status.drift)),
        ("Problems", status.problems.len().to_string()),
    ];
    if let Some(shadow) = &status.shadow {
        writeln!(to, "{:<17}{}", "Shadow:", shadow_line(shadow))?;
    }
    for (name, value) in lines {
        writeln!(to, "{:<17}{value}", format!("{name}:"))?;
    }
    let of_packets = status.packet_path.iter().flat_map(|of| &of.trouble);
    let of_clients = status.clients.iter().flat_map(|of| &of.trouble);
    let of_shadow = status.shadow.iter().flat_map(|of| &of.trouble);
    for trouble in status
        .drift
        .trouble
        .iter()
        .chain(of_packets)
        .chain(of_clients)
        .chain(of_shadow)
    {
        writeln!(to, "  {trouble}")?;
    }
    for problem in &status.problems {
        writeln!(to, "  {problem}")?;
    }
    if !status.source.watches.is_empty() {
        writeln!(to, "Watches:")?;
    }
    for watch in &status.source.watches {
        let kind = format!("{}s:", watch.kind);
        writeln!(to, "  {kind:<16}{}", watch_line(watch))?;
    }
    Ok(())
}

/// What shadow mode has compared.
fn shadow_line(shadow: &ShadowStatus) -> String {
    let mut line = format!(
        "nothing is translated; {} of {} different, in {}",
        shadow.different,
        counted(shadow.flows, "flow"),
        counted(shadow.different_services, "Service")
    );
    if shadow.overruns > 0 {
        line.push_str(&format!("; {}", counted(shadow.overruns, "overrun")));
    }
    line
}

/// Which pods' sockets are balanced.
fn pods(status: &Status) -> String {
    let Some(clients) = &status.clients else {
        return "all".to_owned();
    };
    let mut line = format!(
        "{} served, {} not served",
        clients.served, clients.not_served
    );
    if clients.not_found > 0 {
        line.push_str(&format!(
            ", {} not found yet ({}{})",
            clients.not_found,
            clients.missing.join(", "),
            if clients.missing.len() < clients.not_found {
                ", …"
            } else {
                ""
            }
        ));
    }
    let host = if clients.includes_host {
        "served"
    } else {
        "not served"
    };
    line.push_str(&format!(
        "; the host and {} in its network {host}; by {}",
        counted(clients.host_network, "pod"),
        clients.selection
    ));
    line
}

/// The devices of the packet path.
fn packet_path(status: &Status) -> String {
    const SHOWN: usize = 5;
    let Some(packets) = &status.packet_path else {
        return "off".to_owned();
    };
    let shown: Vec<&str> = packets
        .devices
        .iter()
        .take(SHOWN)
        .map(String::as_str)
        .collect();
    if shown.is_empty() {
        return "on no device".to_owned();
    }
    let mut line = format!(
        "on {}: {}",
        counted(packets.devices.len(), "device"),
        shown.join(", ")
    );
    if packets.devices.len() > SHOWN {
        line.push_str(", …");
    }
    line
}

/// The number of sockets that were ended because their backends stopped serving, and why others cannot be ended.
fn ended(status: &TerminationStatus) -> String {
    let mut line = format!("{} UDP", status.udp);
    if status.includes_tcp || status.tcp > 0 {
        line.push_str(&format!(", {} TCP", status.tcp));
    }
    if status.draining_backends > 0 {
        line.push_str(&format!(
            "; draining: {} to {}",
            counted(status.draining_connections, "connection"),
            counted(status.draining_backends, "backend")
        ));
    }
    if status.failures > 0 {
        line.push_str(&format!("; {}", counted(status.failures, "failure")));
    }
    if let Some(lack) = &status.lack {
        let whose = if status.own_namespace {
            "sockets of pods cannot be ended"
        } else {
            "no socket can be ended"
        };
        line.push_str(&format!("; {whose}: {lack}"));
    }
    line
}

/// The backends that outlier detection has ejected.
fn outliers(status: &OutlierStatus) -> String {
    if let Some(error) = &status.error {
        return format!("not detected: {error}");
    }
    let OutlierStatus {
        is_on,
        ejected,
        ejections,
        failed_trials,
        aborted,
        ..
    } = status;
    match is_on {
        true => format!(
            "{} ejected; {}, {} failed, {} ended",
            counted(ejected, "backend"),
            counted(ejections, "ejection"),
            counted(failed_trials, "trial"),
            counted(aborted, "connect")
        ),
        false => "off: no Service asks for it".to_owned(),
    }
}

/// The repairs of changes by other programs, and the time of the last check.
fn drift_line(drift: &DriftStatus) -> String {
    let of = |(part, number): (&String, &u64)| (*number > 0).then(|| format!("{part} {number}"));
    let repairs: Vec<String> = drift.repairs.iter().filter_map(of).collect();
    let mut line = match repairs.as_slice() {
        [] => "nothing".to_owned(),
        some => some.join(", "),
    };
    match drift.checked_seconds_ago {
        Some(ago) => line.push_str(&format!("; last complete check {ago:.0} s ago")),
        None => line.push_str("; no complete check yet"),
    }
    line
}

/// The table with the highest share in use.
fn fullest(status: &Status) -> String {
    let percent = |table: &TableStatus| table.used * 100 / table.capacity.max(1);
    let fullest = status.tables.iter().max_by_key(|table| percent(table));
    fullest.map_or_else(String::new, |table| {
        let TableStatus {
            table: name,
            used,
            capacity,
        } = table;
        format!("{name}, {} % ({used} of {capacity})", percent(table))
    })
}

/// Whether all objects of a kind have arrived, the age of the last change, and the time since the server's last message.
fn watch_line(watch: &WatchStatus) -> String {
    let seconds_ago = |event: &str, seconds: Option<f64>| match seconds {
        Some(seconds) => format!("last {event} {seconds:.0} s ago"),
        None => format!("no {event} yet"),
    };
    let synced = if watch.listed {
        "synced"
    } else {
        "waiting for the first list"
    };
    let mut line = format!(
        "{synced}; {}, {}",
        seconds_ago("change", watch.event_seconds_ago),
        seconds_ago("message", watch.heard_seconds_ago)
    );
    if let (Some(why), Some(seconds)) = (&watch.trouble, watch.trouble_seconds) {
        line.push_str(&format!("; failing for {seconds:.0} s: {why}"));
    }
    line
}
