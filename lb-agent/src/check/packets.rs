//! What the packet path needs of the kernel.

use super::finding::Finding;
use crate::kernel::probe::{DeviceHook, LoadedPrograms, PacketTrial, try_packets};

const HOOK: &str = "packet-program";
const NETFILTER: &str = "nftables";

const REMEDY: &str = "use Linux 6.1 or later with CONFIG_NET_CLS_BPF and CONFIG_NET_SCH_INGRESS, or leave --packet-path off";

/// `loaded`: none if the programs were not loaded.
pub(super) fn findings(loaded: Option<&LoadedPrograms>) -> Vec<Finding> {
    let programs = loaded.map(|loaded| loaded.packets.as_ref());
    let given = programs.and_then(Result::ok);
    let trial = match try_packets(given) {
        Ok(trial) => trial,
        Err(error) => {
            let not = |check| {
                Finding::warning(
                    check,
                    format!("not tried: cannot make a network namespace for the trial: {error}"),
                    "run lb-agent check as root, or with CAP_SYS_ADMIN",
                )
            };
            return vec![not(HOOK), not(NETFILTER)];
        }
    };
    let hook = match programs {
        Some(Err(refused)) => Finding::of_error(HOOK, refused),
        Some(Ok(_)) => hook(&trial),
        None => Finding::warning(
            HOOK,
            "not tried: the programs are not loaded",
            "see the rows above",
        ),
    };
    let netfilter = match &trial.netfilter {
        Ok(()) => Finding::ok(
            NETFILTER,
            "the kernel takes the rules, with NAT and conntrack",
        ),
        Err(error) => Finding::of_error(NETFILTER, error),
    };
    vec![hook, netfilter]
}

fn hook(trial: &PacketTrial) -> Finding {
    match &trial.hook {
        Some(Ok(DeviceHook::Tcx)) => Finding::ok(HOOK, "attached to a device by tcx"),
        Some(Ok(DeviceHook::Clsact)) => Finding::ok(
            HOOK,
            "attached to a device by clsact, since the kernel has no tcx (Linux 6.6)",
        ),
        Some(Err(error)) => Finding::failure(
            HOOK,
            format!("cannot attach it to a device: {error}"),
            REMEDY,
        ),
        None => Finding::warning(HOOK, "not tried", "see the rows above"),
    }
}
