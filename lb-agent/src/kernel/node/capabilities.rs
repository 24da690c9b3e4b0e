//! Checks the capabilities of this process before the work begins, since the kernel's only answer is EPERM.

use super::error::KernelError;

/// linux/capability.h: the bit and the name.
const NET_ADMIN: (u32, &str) = (12, "CAP_NET_ADMIN");
const SYS_ADMIN: (u32, &str) = (21, "CAP_SYS_ADMIN");
const PERFMON: (u32, &str) = (38, "CAP_PERFMON");
const BPF: (u32, &str) = (39, "CAP_BPF");

/// CAP_SYS_ADMIN includes CAP_BPF and CAP_PERFMON, as in the kernel's `bpf_capable`.
pub fn check() -> Result<(), KernelError> {
    let status = std::fs::read_to_string("/proc/self/status")
        .map_err(KernelError::system("read /proc/self/status"))?;
    let missing = missing(effective(&status));
    if missing.is_empty() {
        return Ok(());
    }
    Err(KernelError::NotAllowed {
        missing: missing.join(", "),
    })
}

/// The effective set in the text of a `/proc/PID/status`.
fn effective(status: &str) -> u64 {
    status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|set| u64::from_str_radix(set.trim(), 16).ok())
        .unwrap_or_default()
}

fn missing(effective: u64) -> Vec<&'static str> {
    let has = |(bit, _): (u32, &str)| effective >> bit & 1 == 1;
    [BPF, NET_ADMIN, PERFMON]
        .into_iter()
        .filter(|&capability| !(has(capability) || capability != NET_ADMIN && has(SYS_ADMIN)))
        .map(|(_, name)| name)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{effective, missing};

    #[test]
    fn root_has_all_capabilities() {
        let status = "Name:\tlb-agent\nCapEff:\t000001ffffffffff\n";
        assert!(missing(effective(status)).is_empty());
    }

    #[test]
    fn missing_capabilities_are_named() {
        assert_eq!(missing(0), ["CAP_BPF", "CAP_NET_ADMIN", "CAP_PERFMON"]);
        assert_eq!(missing(1 << 39 | 1 << 12), ["CAP_PERFMON"]);
        assert_eq!(missing(1 << 21), ["CAP_NET_ADMIN"]);
    }
}
