//! The memory that the tables need, and how much there is.

use std::fs;

use super::finding::Finding;
use crate::kernel::Sizes;
use crate::kernel::probe::{AGENT_MEMORY, memory_limit, memory_of_tables, needed};

const CHECK: &str = "memory";

const LESS: &str = "or lower --max-services and --max-endpoints";

/// Where memory ends.
#[derive(Clone, Debug)]
struct Room {
    bytes: u64,
    /// With the number.
    what: String,
    /// A cgroup limits this process, not the machine.
    is_limit: bool,
}

pub(super) fn finding(sizes: Sizes) -> Finding {
    judge(memory_of_tables(sizes), room().as_ref())
}

fn room() -> Option<Room> {
    if let Some(limit) = memory_limit() {
        return Some(Room {
            bytes: limit.bytes,
            what: format!("this process may have {limit}"),
            is_limit: true,
        });
    }
    let bytes = available(&fs::read_to_string("/proc/meminfo").ok()?)?;
    Some(Room {
        bytes,
        what: format!(
            "the machine has {} MiB available, and no cgroup limits this process",
            bytes >> 20
        ),
        is_limit: false,
    })
}

/// Bytes, from the text of `/proc/meminfo`.
fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

/// `tables`: the bytes of kernel memory that they take.
fn judge(tables: u64, room: Option<&Room>) -> Finding {
    let take = format!("the tables take {} MB", tables.div_ceil(1_000_000));
    let Some(room) = room else {
        return Finding::ok(CHECK, take);
    };
    let detail = format!("{take}; {}", room.what);
    let wanted = match room.is_limit {
        true => format!(
            "raise the limit (in a pod: resources.limits.memory) to {} MiB, the tables twice, for an upgrade fills new ones \
             beside the old ones, and {} MiB for the agent, {LESS}",
            needed(tables).div_ceil(1 << 20),
            AGENT_MEMORY >> 20
        ),
        false => format!("free memory, {LESS}"),
    };
    if room.bytes < tables + AGENT_MEMORY {
        return Finding::failure(CHECK, detail, wanted);
    }
    if room.is_limit && room.bytes < needed(tables) {
        return Finding::warning(CHECK, detail, wanted);
    }
    Finding::ok(CHECK, detail)
}

#[cfg(test)]
mod tests {
    use super::super::finding::Outcome;
    use super::*;

    #[test]
    fn a_limit_must_allow_the_tables_twice() {
        let outcome = |mib: u64, is_limit| {
            let room = Room {
                bytes: mib << 20,
                what: String::new(),
                is_limit,
            };
            judge(60 << 20, Some(&room)).outcome
        };
        assert_eq!(outcome(123, true), Outcome::Failure);
        assert_eq!(outcome(124, true), Outcome::Warning);
        assert_eq!(outcome(184, true), Outcome::Ok);
        assert_eq!(outcome(123, false), Outcome::Failure);
        assert_eq!(outcome(124, false), Outcome::Ok);
        assert_eq!(judge(60 << 20, None).outcome, Outcome::Ok);
    }

    #[test]
    fn available_memory_is_read_from_meminfo() {
        let text = "MemTotal:  8000 kB\nMemAvailable:    4096 kB\n";
        assert_eq!(available(text), Some(4 << 20));
        assert_eq!(available("MemTotal: 1 kB\n"), None);
    }
}
