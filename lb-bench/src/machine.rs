//! The machine that a bench runs on: its figures are meaningless without.

use std::{fs, thread};

/// CPU, number of CPUs, kernel and load, in one line.
pub(crate) fn describe() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let info = read("/proc/cpuinfo");
    let cpu = info
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown CPU", |(_, name)| name);
    let machine = if info.contains(" hypervisor") {
        "virtual machine"
    } else {
        "machine"
    };
    let cpus = thread::available_parallelism().map_or(1, usize::from);
    let load = read("/proc/loadavg");
    format!(
        "{machine} with {cpus} CPUs ({cpu}), Linux {}, load {}\n",
        read("/proc/sys/kernel/osrelease").trim(),
        load.split(' ').next().unwrap_or("unknown")
    )
}
