//! Conntrack's table and forwarding, on which packets through Services depend.

use std::fs;

use super::finding::Finding;
use crate::counted::counted;
use crate::duties::sysctls::{Sysctl, SysctlFiles};

const CONNTRACK: &str = "conntrack";

/// The number of entries now, in this network namespace.
const COUNT: &str = "/proc/sys/net/netfilter/nf_conntrack_count";

/// In percent: more is a warning, as for the tables.
const NEARLY_FULL: u64 = 80;

/// The size of conntrack's table, and how full it is.
pub(super) fn finding() -> Finding {
    let max = match SysctlFiles::default().read(Sysctl::ConntrackMax) {
        Ok(max) => max,
        Err(error) => {
            return Finding::warning(
                CONNTRACK,
                format!("cannot read {}: {error}", Sysctl::ConntrackMax),
                "load the kernel module nf_conntrack; the packet path does that too",
            );
        }
    };
    let count = fs::read_to_string(COUNT).ok();
    judge(max, count.and_then(|count| count.trim().parse().ok()))
}

/// `count`: none if it is unreadable.
fn judge(max: u64, count: Option<u64>) -> Finding {
    let Some(count) = count else {
        return Finding::ok(CONNTRACK, format!("room for {max} connections"));
    };
    if max == 0 {
        return Finding::ok(
            CONNTRACK,
            format!("{}, without a limit", counted(count, "connection")),
        );
    }
    let detail = format!("{count} of {max} connections");
    match count > max / 100 * NEARLY_FULL {
        false => Finding::ok(CONNTRACK, detail),
        true => Finding::warning(
            CONNTRACK,
            detail,
            "raise net.netfilter.nf_conntrack_max, or start the agent with --conntrack-max-per-core: when it is full, new \
             connections are dropped",
        ),
    }
}

/// Whether the kernel forwards packets to pods.
pub(super) fn forwarding() -> Finding {
    const CHECK: &str = "forwarding";
    let files = SysctlFiles::default();
    let all = [Sysctl::Ipv4Forwarding, Sysctl::Ipv6Forwarding];
    // A kernel without IPv6 does not have its file.
    let values = all.map(|sysctl| (sysctl, files.read(sysctl).ok()));
    let is_off = |(_, value): &&(Sysctl, Option<u64>)| *value == Some(0);
    let off: Vec<String> = values
        .iter()
        .filter(is_off)
        .map(|(sysctl, _)| sysctl.to_string())
        .collect();
    if off.is_empty() {
        return Finding::ok(CHECK, "packets from outside are forwarded to pods");
    }
    Finding::warning(
        CHECK,
        format!("off: {}", off.join(", ")),
        "with the packet path, set it to 1 for each address family of the cluster; interfaces that get IPv6 addresses from router \
         advertisements then need accept_ra=2",
    )
}

#[cfg(test)]
mod tests {
    use super::super::finding::Outcome;
    use super::*;

    #[test]
    fn a_nearly_full_table_is_a_warning() {
        for (max, count, outcome) in [
            (1000, Some(800), Outcome::Ok),
            (1000, Some(801), Outcome::Warning),
            (0, Some(1_000_000), Outcome::Ok),
            (1000, None, Outcome::Ok),
        ] {
            assert_eq!(judge(max, count).outcome, outcome, "{max} {count:?}");
        }
    }
}
