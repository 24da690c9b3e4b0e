//! An agent's CPU time and memory, from /proc.

use std::fs;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::Path;

use anyhow::{Context as _, Result};
use aya::maps::MapData;

/// Anonymous memory in bytes, without memory shared with the kernel or with files.
pub(crate) fn anonymous_memory(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    field(&status, "RssAnon:")
        .map(|kilobytes| kilobytes * 1024)
        .context("no RssAnon in /proc/PID/status")
}

/// CPU time so far, in seconds.
pub(crate) fn cpu_seconds(pid: u32) -> Result<f64> {
    let schedule = fs::read_dir(format!("/proc/{pid}/task"))?;
    let mut nanoseconds = 0_u64;
    for task in schedule {
        let text = fs::read_to_string(task?.path().join("schedstat"))?;
        let first = text.split(' ').next().unwrap_or_default();
        nanoseconds += first.parse::<u64>().context("no number in schedstat")?;
    }
    Ok(nanoseconds as f64 / 1e9)
}

/// Memory of the BPF maps that are pinned in subfolders of `pins`, in bytes.
pub(crate) fn kernel_memory(pins: &Path) -> Result<u64> {
    let mut bytes = 0;
    for folder in fs::read_dir(pins)? {
        let folder = folder?.path();
        if !folder.is_dir() {
            continue;
        }
        for pin in fs::read_dir(folder)? {
            // Other pins are links, which need no memory.
            if let Ok(map) = MapData::from_pin(pin?.path()) {
                let fd = map.fd().as_fd().as_raw_fd();
                let text = fs::read_to_string(format!("/proc/self/fdinfo/{fd}"))?;
                bytes += field(&text, "memlock:").unwrap_or_default();
            }
        }
    }
    Ok(bytes)
}

fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}
