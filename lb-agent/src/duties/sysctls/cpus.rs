//! The number of CPUs of the machine, whatever share of them this process may use.

use std::fs;
use std::thread;

/// kube-proxy counts the machine's CPUs too, not those of its own limits.
#[must_use]
pub fn online_cpus() -> u32 {
    let online = fs::read_to_string("/sys/devices/system/cpu/online").ok();
    let counted = online.and_then(|list| count(&list));
    counted.unwrap_or_else(|| {
        let usable = thread::available_parallelism();
        usable.map_or(1, |n| u32::try_from(n.get()).unwrap_or(u32::MAX))
    })
}

/// Counts a list such as `0-3,5` (Documentation/admin-guide/cputopology.rst).
fn count(list: &str) -> Option<u32> {
    let mut count = 0_u32;
    for range in list.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        count = count.checked_add(last.checked_sub(first)?.checked_add(1)?)?;
    }
    Some(count)
}

#[cfg(test)]
mod tests {
    use super::count;

    #[test]
    fn ranges_and_single_cpus_count() {
        for (list, expected) in [
            ("0\n", Some(1)),
            ("0-3\n", Some(4)),
            ("0-3,5,8-9", Some(7)),
            ("", None),
            ("3-0", None),
            ("0-4294967295", None),
        ] {
            assert_eq!(count(list), expected, "{list:?}");
        }
    }
}
