//! The kernel's types, and whether it takes the programs and tables of this build.

use super::capabilities::Lack;
use super::finding::{Finding, Outcome};
use crate::counted::counted;
use crate::kernel::KernelError;
use crate::kernel::probe::{self, LoadedPrograms, SocketAccess};

const TABLES: &str = "tables";
const PROGRAMS: &str = "programs";
const FUNCTION: &str = "kernel-function";

/// What is lost if programs cannot read the fields of TCP sockets.
const LOSS: &str = "getpeername of MPTCP sockets returns the pod, and failed connections and round-trip times are not counted";

/// The kernel's own types.
pub(super) fn types() -> Finding {
    const CHECK: &str = "kernel-types";
    match probe::kernel_types() {
        Ok(types) => Finding::ok(CHECK, format!("BTF of {} KiB", types.len() >> 10)),
        Err(error) => Finding::warning(
            CHECK,
            format!("cannot read /sys/kernel/btf/vmlinux: {error}: {LOSS}"),
            "use a kernel with CONFIG_DEBUG_INFO_BTF, and mount /sys into the container",
        ),
    }
}

/// Loads the programs. They are returned for further trials.
pub(super) fn load(lack: Option<&Lack>) -> (Vec<Finding>, Option<LoadedPrograms>) {
    if let Some(lack) = lack
        && !lack.needed.is_empty()
    {
        let not = |check| Finding::not_checked(check, &lack.needed);
        return (vec![not(TABLES), not(PROGRAMS), not(FUNCTION)], None);
    }
    match probe::load() {
        Err(error) => (vec![refused(&error)], None),
        Ok(loaded) => {
            let findings = vec![
                Finding::ok(
                    TABLES,
                    "the kernel makes all kinds of map: arrays, hashes, LPM trie, ring buffer",
                ),
                Finding::ok(
                    PROGRAMS,
                    format!("the kernel accepts {}", counted(loaded.count(), "program")),
                ),
                function(loaded.access),
            ];
            (findings, Some(loaded))
        }
    }
}

fn refused(error: &KernelError) -> Finding {
    let check = match error {
        KernelError::Map { .. } | KernelError::Memory { .. } => TABLES,
        _ => PROGRAMS,
    };
    let finding = Finding::of_error(check, error);
    match finding.remedy {
        Some(_) => finding,
        None => Finding {
            remedy: Some("use Linux 6.1 or later with CONFIG_CGROUP_BPF".to_owned()),
            ..finding
        },
    }
}

fn function(access: SocketAccess) -> Finding {
    let (outcome, detail, remedy) = match access {
        SocketAccess::All => {
            return Finding::ok(FUNCTION, "programs call bpf_cast_to_kern_ctx");
        }
        SocketAccess::NoHelper => (
            Outcome::Warning,
            format!("the kernel allows no helper that reads its memory: {LOSS}"),
            "`cat /sys/kernel/security/lockdown` shows whether the kernel is locked down; without confidentiality it allows the \
             helper",
        ),
        SocketAccess::NoFunction => (
            Outcome::Ok,
            "the kernel has no bpf_cast_to_kern_ctx (Linux 6.2): programs read sockets by a helper, which is slower"
                .to_owned(),
            "",
        ),
        SocketAccess::None => (
            Outcome::Warning,
            format!("programs can read no field of a socket, so hooks are slower: {LOSS}"),
            "use a kernel with BTF (CONFIG_DEBUG_INFO_BTF), without lockdown",
        ),
    };
    Finding {
        check: FUNCTION,
        outcome,
        detail,
        remedy: Some(remedy.to_owned()).filter(|remedy| !remedy.is_empty()),
    }
}
