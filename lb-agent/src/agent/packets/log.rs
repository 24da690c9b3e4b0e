//! Log events of what the packet path has restored.

use crate::kernel::{DeviceChanges, RulesetPart};

pub fn log_parts(repaired: &[RulesetPart]) {
    if !repaired.is_empty() {
        let parts: Vec<String> = repaired.iter().map(ToString::to_string).collect();
        tracing::warn!(
            event = "packet_path.ruleset_repaired",
            parts = parts.join(", "),
            "repaired the nftables table inet socklb, which another program had changed",
        );
    }
}

pub fn log_changes(changes: DeviceChanges) {
    for (device, cause) in changes.restored {
        tracing::warn!(
            event = "packet_path.restored",
            device,
            cause,
            "restored the program for packets on a device after another program had changed it",
        );
    }
    for (device, count) in changes.behind {
        tracing::warn!(
            event = "packet_path.behind",
            device,
            count,
            "other programs run before ours on this device: packets that they drop, accept or redirect get no Service; \
             `bpftool net show dev` lists them",
        );
    }
}

pub fn log_elements(count: usize) {
    if count > 0 {
        tracing::warn!(
            event = "packet_path.elements_repaired",
            count,
            "repaired elements of the NAT maps, which another program had changed",
        );
    }
}
