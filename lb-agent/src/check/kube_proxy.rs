//! Whether kube-proxy runs here, in which mode, or what it left.

use std::fs;

use super::finding::Finding;
use crate::kernel::probe::{KubeProxyRules, kube_proxy_rules};

const CHECK: &str = "kube-proxy";

/// What the node shows of kube-proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Traces {
    process: Option<u32>,
    rules: KubeProxyRules,
    /// The table nat of the iptables before nf_tables is in use.
    has_legacy_nat: bool,
    has_virtual_servers: bool,
}

pub(super) fn finding() -> Finding {
    // A kernel without nf_tables has no such rules.
    let (rules, error) = match kube_proxy_rules() {
        Ok(rules) => (rules, None),
        Err(error) => (KubeProxyRules::default(), Some(error)),
    };
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let traces = Traces {
        process: process(),
        rules,
        has_legacy_nat: has_nat(&read("/proc/net/ip_tables_names")),
        has_virtual_servers: has_virtual_servers(&read("/proc/net/ip_vs")),
    };
    let found = describe(&traces);
    match error {
        Some(error) if found.is_none() => Finding::warning(
            CHECK,
            format!("unknown: cannot list its rules: {error}"),
            "see the row `capabilities`",
        ),
        _ => Finding::ok(
            CHECK,
            found.unwrap_or_else(|| "no rules, and no process".to_owned()),
        ),
    }
}

/// None if there is no trace.
fn describe(traces: &Traces) -> Option<String> {
    let rules = [
        (traces.rules.has_tables, "nftables mode (table kube-proxy)"),
        (
            traces.rules.has_chains,
            "iptables mode (chain KUBE-SERVICES in nf_tables)",
        ),
        (traces.has_virtual_servers, "ipvs mode (virtual servers)"),
        (
            traces.has_legacy_nat,
            "perhaps iptables mode: legacy iptables has a table nat (`iptables-legacy-save -t nat` shows whether KUBE-SERVICES is \
             in it)",
        ),
    ];
    let rules = rules.into_iter().filter(|(is_so, _)| *is_so);
    let mut parts: Vec<String> = rules.map(|(_, what)| what.to_owned()).collect();
    match traces.process {
        Some(process) => parts.push(format!("runs as process {process}")),
        None if parts.is_empty() => return None,
        None => parts.push("no process kube-proxy is visible".to_owned()),
    }
    Some(parts.join("; "))
}

/// A process that is called `kube-proxy`.
fn process() -> Option<u32> {
    fs::read_dir("/proc").ok()?.find_map(|entry| {
        let entry = entry.ok()?;
        let process = entry.file_name().to_str()?.parse().ok()?;
        let command = fs::read_to_string(entry.path().join("comm")).ok()?;
        (command.trim_end() == "kube-proxy").then_some(process)
    })
}

/// The text of `/proc/net/ip_tables_names`: a name on each line.
fn has_nat(names: &str) -> bool {
    names.lines().any(|name| name.trim() == "nat")
}

/// The text of `/proc/net/ip_vs`: after a header, a line for each virtual server that begins with its protocol.
fn has_virtual_servers(text: &str) -> bool {
    let protocols = ["TCP ", "UDP ", "SCTP ", "FWM "];
    text.lines()
        .any(|line| protocols.iter().any(|protocol| line.starts_with(protocol)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mode_has_a_trace() {
        assert_eq!(describe(&Traces::default()), None);
        let mut traces = Traces {
            process: Some(42),
            ..Traces::default()
        };
        traces.rules.has_tables = true;
        let text = describe(&traces).expect("a trace");
        assert!(
            text.contains("nftables mode") && text.contains("42"),
            "{text}"
        );
        let left = Traces {
            has_virtual_servers: true,
            ..Traces::default()
        };
        let text = describe(&left).expect("a trace");
        assert!(text.contains("ipvs mode"), "{text}");
    }

    #[test]
    fn files_of_the_kernel_are_read() {
        assert!(has_nat("filter\nnat\n") && !has_nat("filter\n") && !has_nat(""));
        let header = "IP Virtual Server version 1.2.1 (size=4096)\n\
                      Prot LocalAddress:Port Scheduler Flags\n  \
                      -> RemoteAddress:Port Forward Weight ActiveConn InActConn\n";
        assert!(!has_virtual_servers(header));
        assert!(has_virtual_servers(&format!(
            "{header}TCP  0A600001:01BB rr\n"
        )));
    }
}
