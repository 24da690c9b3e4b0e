//! Other programs on the node's devices, which may take packets before socklb's.

use std::path::Path;

use super::finding::Finding;
use crate::counted::counted;
use crate::kernel::probe::{DevicePrograms, program_names, programs_on_devices};

const CHECK: &str = "devices";

/// Devices that the detail names.
const NAMED: usize = 3;

/// `pin_dir`: where an agent's own links are pinned.
pub(super) fn finding(pin_dir: &Path) -> Finding {
    match programs_on_devices(pin_dir) {
        Ok((found, number)) if found.is_empty() => Finding::ok(
            CHECK,
            format!("no other programs by tcx on {}", counted(number, "device")),
        ),
        Ok((found, number)) => {
            let names = program_names();
            let described: Vec<String> = found
                .iter()
                .take(NAMED)
                .map(|device| describe(device, |program| names.get(&program).cloned()))
                .collect();
            let more = match found.len().saturating_sub(NAMED) {
                0 => String::new(),
                more => format!("; and {more} more"),
            };
            Finding::warning(
                CHECK,
                format!(
                    "other programs on {} of {}: {}{more}",
                    found.len(),
                    counted(number, "device"),
                    described.join("; ")
                ),
                "they run before socklb's and may take packets away: `bpftool net show` lists them, and --packet-devices selects devices",
            )
        }
        // Before Linux 6.6.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Finding::ok(
            CHECK,
            "the kernel has no tcx; `tc filter show dev DEVICE ingress` lists programs by clsact",
        ),
        Err(error) => Finding::warning(
            CHECK,
            format!("cannot list the programs on devices: {error}"),
            "see the row `capabilities`",
        ),
    }
}

fn describe(of: &DevicePrograms, name: impl Fn(u32) -> Option<String>) -> String {
    let programs = of.programs.iter().map(|&program| match name(program) {
        Some(name) if !name.is_empty() => format!("{program} ({name})"),
        _ => program.to_string(),
    });
    let programs: Vec<String> = programs.collect();
    format!("{}: {}", of.device, programs.join(", "))
}
